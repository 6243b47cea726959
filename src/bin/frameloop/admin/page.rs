//! The page of the admin endpoint: one document, which shows what the endpoint reports as JSON and as events.
//!
//! The files under `page/` are put together here. The page loads nothing but the endpoint's own data: [`POLICY`] permits exactly
//! its style sheet and its script, by their hashes, and requests to where it came from.

#[cfg(test)]
mod browser;

use std::sync::LazyLock;

/// The document, in UTF-8.
pub(crate) fn html() -> &'static str {
    static HTML: LazyLock<String> = LazyLock::new(|| {
        let style = format!("<style>{STYLE}</style>");
        let script = format!("<script type=\"module\">{SCRIPT}</script>");
        DOCUMENT.replacen(STYLE_PLACE, &style, 1).replacen(SCRIPT_PLACE, &script, 1)
    });
    &HTML
}

/// The value of the header `Content-Security-Policy` that the page is sent with.
///
/// `img-src data:` permits the empty icon in the page, so that a browser does not ask for `/favicon.ico`.
pub(crate) const POLICY: &str = concat!(
    "default-src 'none'; style-src 'sha256-",
    include_str!("page/style.sha256"),
    "'; script-src 'sha256-",
    include_str!("page/script.sha256"),
    "'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
);

const DOCUMENT: &str = include_str!("page/page.html");
const STYLE_PLACE: &str = "<style></style>";
const SCRIPT_PLACE: &str = "<script type=\"module\"></script>";
const STYLE: &str = include_str!("page/page.css");
/// One module: each file uses what those before it define.
const SCRIPT: &str = concat!(
    include_str!("page/format.js"),
    include_str!("page/elements.js"),
    include_str!("page/stream.js"),
    include_str!("page/chart.js"),
    include_str!("page/graphs.js"),
    include_str!("page/diagram.js"),
    include_str!("page/connection.js"),
    include_str!("page/holders.js"),
    include_str!("page/totals.js"),
    include_str!("page/run.js"),
    include_str!("page/main.js"),
);

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn policy_permits_the_style_and_the_script() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/frameloop/admin/page");
        for (name, text) in [("style", STYLE), ("script", SCRIPT)] {
            let (hash, file) = (STANDARD.encode(Sha256::digest(text)), folder.join(format!("{name}.sha256")));
            if env::var_os("FRAMELOOP_UPDATE").is_some() {
                fs::write(&file, &hash).unwrap();
            }
            let kept = fs::read_to_string(&file).unwrap();
            assert_eq!(
                kept, hash,
                "{name}.sha256 is out of date: run FRAMELOOP_UPDATE=1 cargo test --bin frameloop admin::page"
            );
        }
    }

    #[test]
    fn policy_forbids_all_but_itself() {
        assert!(POLICY.starts_with("default-src 'none'; "));
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http") && !POLICY.contains('*'), "{POLICY}");
        for rule in ["connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
            assert!(POLICY.contains(rule), "{rule}");
        }
        assert!(!POLICY.contains(char::is_control), "{POLICY:?}");
    }

    #[test]
    fn page_has_one_style_and_one_script() {
        let page = html();
        assert_eq!((page.matches("<style").count(), page.matches("<script").count()), (1, 1));
        assert_eq!((page.matches("</style").count(), page.matches("</script").count()), (1, 1));
        assert!(page.contains(STYLE) && page.contains(SCRIPT));
        // Within a script, `<!--` would begin another state of the parser.
        assert!(!page.contains("<!--"));
        assert!(page.len() < 100_000, "{} bytes", page.len());
    }

    #[test]
    fn page_names_no_other_host() {
        // The only address is the name of SVG's namespace, which is not requested.
        let page = html().replace("\"http://www.w3.org/2000/svg\"", "");
        for outside in
            ["://", "src=", "\"//", "'//", "@import", "url(", "import(", "import ", "<link rel=\"stylesheet\""]
        {
            assert!(!page.contains(outside), "{outside}");
        }
        let requests = page.split("fetch(").skip(1).chain(page.split("new EventSource(").skip(1));
        let begins: Vec<&str> = requests.map(|rest| &rest[..2]).collect();
        assert!(begins.len() >= 4 && begins.iter().all(|begin| ["\"/", "`/"].contains(begin)), "{begins:?}");
    }

    #[test]
    fn page_makes_no_markup_of_texts() {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("]
        {
            assert!(!SCRIPT.contains(way), "{way}");
        }
        // Neither attributes with scripts nor with styles: the policy forbids both.
        for part in DOCUMENT.split(' ').filter(|part| part.contains('=')) {
            assert!(!part.starts_with("on") && !part.starts_with("style="), "{part}");
        }
        assert!(!SCRIPT.contains("style: ") && !SCRIPT.contains("\"style\""));
    }
}
