//! The name of the generator that writes a log, and lines that state it.
//!
//! Several generators' logs may become one stream, line by line, on their way. So a log on stdout is marked: each line that matters has
//! the generator's name, in its tag (`Tag=service@2/3`) or at the beginning of its comment (`#[frameloop@2/3 interval: ...`). A log in a file
//! has plain tags, and the name in one comment of its head.

use std::process;

use frameloop::load::Segment;

use crate::results::model::Series;

/// The name of a generator, and where its log states it.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) name: String,
    /// In each line, and not only in the head.
    pub(crate) is_in_each_line: bool,
}

impl Mark {
    /// The name of this process: its segment; or its host and process id.
    pub(crate) fn of(segment: Option<Segment>, is_in_each_line: bool) -> Self {
        let name = segment.map_or_else(|| format!("{}:{}", host(), process::id()), |segment| segment.to_string());
        Self { name, is_in_each_line }
    }

    /// What follows a tag, or the first word of a comment.
    pub(super) fn suffix(&self) -> String {
        if self.is_in_each_line { format!("@{}", self.name) } else { String::new() }
    }
}

/// The host's name, in the characters that a name may have.
fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let allowed = name.chars().map(|char| if is_allowed(char) { char } else { '_' });
    let name: String = allowed.take(HOST_MAX).collect();
    if name.is_empty() { "host".into() } else { name }
}

/// What a line of a stream is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// A marked line: its generator, and the same line without the mark.
    Marked(&'a str, Vec<u8>),
    /// A line without a mark.
    Plain,
    /// A comment that every log has at its head, behind a prefix. It states nothing that marked lines do not state.
    Head,
}

/// Recognizes a line, also behind a prefix such as the one of `parallel --tag`.
pub(crate) fn kind(line: &[u8]) -> Kind<'_> {
    let head = &line[..line.len().min(PREFIX_MAX)];
    let marks = Series::ALL.iter().map(|series| format!("Tag={}@", series.name())).chain([COMMENT.to_owned()]);
    let found = marks.filter_map(|mark| Some((position(head, mark.as_bytes())?, mark)));
    if let Some((at, mark)) = found.min_by_key(|(at, _)| *at)
        && let Some((name, plain)) = unmarked(&line[at..], &mark)
    {
        return Kind::Marked(name, plain);
    }
    let is_head = |begin: &[u8]| position(head, begin).is_some_and(|at| at > 0);
    let is_behind_prefix = !line.starts_with(b"#") && !line.starts_with(b"Tag=");
    if is_behind_prefix && (is_head(b"#[") || is_head(LEGEND_BEGIN)) { Kind::Head } else { Kind::Plain }
}

/// Takes the mark out of a line that begins with `mark`, which ends before the name.
fn unmarked<'a>(line: &'a [u8], mark: &str) -> Option<(&'a str, Vec<u8>)> {
    let rest = &line[mark.len()..];
    let end = rest.iter().position(|byte| matches!(byte, b',' | b' '))?;
    let word = str::from_utf8(&rest[..end]).ok()?;
    // The comment with the facts has its colon directly behind the name.
    let (name, colon) = word.strip_suffix(':').map_or((word, ""), |name| (name, ":"));
    let plain = [mark.trim_end_matches('@').as_bytes(), colon.as_bytes(), &rest[end..]].concat();
    (!name.is_empty() && name.len() <= NAME_MAX && name.chars().all(is_allowed)).then_some((name, plain))
}

fn is_allowed(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-' | '/' | ':')
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

const COMMENT: &str = "#[frameloop@";
pub(super) const LEGEND_BEGIN: &[u8] = b"\"StartTimestamp\"";
/// How far from its beginning a line is searched for a mark.
const PREFIX_MAX: usize = 512;
/// As long as a host's name may be.
const HOST_MAX: usize = 64;
const NAME_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_line_behind_any_prefix_gives_name_and_plain_line() {
        let lines = [
            ("Tag=service@2/3,1.0,1.0,2.5,HIST", "Tag=service,1.0,1.0,2.5,HIST"),
            ("#[frameloop@2/3 interval: {\"a\":1}]", "#[frameloop interval: {\"a\":1}]"),
            ("#[frameloop@2/3: {\"a\":\"Tag=service@9/9,\"}]", "#[frameloop: {\"a\":\"Tag=service@9/9,\"}]"),
        ];
        // GNU parallel, srun, mpirun, kubectl.
        for prefix in ["", "2\t", "0: ", "[1,0]<stdout>:", "[pod/load-0-x7/load] "] {
            for (line, plain) in lines {
                let line = format!("{prefix}{line}");
                assert_eq!(kind(line.as_bytes()), Kind::Marked("2/3", plain.into()), "{line}");
            }
        }
        assert_eq!(
            kind(b"Tag=connect@gen-1.lab:4711,1,1,1,H"),
            Kind::Marked("gen-1.lab:4711", b"Tag=connect,1,1,1,H".into())
        );
    }

    #[test]
    fn lines_without_a_valid_mark_are_plain_or_a_head() {
        for line in [
            "",
            "hello",
            "#[BaseTime: 1.0]",
            "Tag=service,1,1,1,H",
            "1.0,1.0,1.0,H",
            "\"StartTimestamp\",",
            "Tag=service@",
        ] {
            assert_eq!(kind(line.as_bytes()), Kind::Plain, "{line}");
        }
        for line in
            ["Tag=service@,1,1,1,H", "Tag=service@a\u{e9},1,1,1,H", "#[frameloop@ begin: {}]", "Tag=other@2/3,1,1,1,H"]
        {
            assert_eq!(kind(line.as_bytes()), Kind::Plain, "{line}");
        }
        for line in
            ["0: #[BaseTime: 1.0]", "2\t#[Logged with frameloop 0.1.0]", "[1,0]<stdout>:\"StartTimestamp\",\"I\""]
        {
            assert_eq!(kind(line.as_bytes()), Kind::Head, "{line}");
        }
        let far = format!("{}Tag=service@2/3,1,1,1,H", "x".repeat(PREFIX_MAX));
        assert_eq!(kind(far.as_bytes()), Kind::Plain);
    }

    #[test]
    fn name_of_a_process_is_its_segment_or_host_and_id() {
        let mark = Mark::of("2/3".parse().ok(), true);
        assert_eq!((mark.name.as_str(), mark.suffix().as_str()), ("2/3", "@2/3"));
        let mark = Mark::of(None, false);
        assert!(mark.name.ends_with(&format!(":{}", process::id())) && mark.suffix().is_empty(), "{mark:?}");
        let line = format!("Tag=service@{},1,1,1,H", mark.name);
        assert_eq!(kind(line.as_bytes()), Kind::Marked(&mark.name, b"Tag=service,1,1,1,H".into()));
    }
}
