//! A source file as tokens: without comments, and with strings as one token each.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One source file.
pub(crate) struct Source {
    /// From the project's folder, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// The tokens outside of tests; none if the whole file is one.
    pub(crate) code: Vec<Token>,
}

#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) line: usize,
    /// An identifier, a number, `::`, `=>`, `""` for any string or character, or one character.
    pub(crate) text: String,
}

impl Source {
    /// Everything under `src`.
    pub(crate) fn all(project: &Path) -> Vec<Self> {
        let mut paths = Vec::new();
        list(&project.join("src"), &mut paths);
        paths.sort();
        let relative = |path: &str| path.strip_prefix(&format!("{}/", project.display())).unwrap().to_owned();
        let mut sources: Vec<Self> =
            paths.iter().map(|path| Self::new(&relative(path), &fs::read_to_string(path).unwrap())).collect();
        let of_tests: BTreeSet<String> = sources.iter().flat_map(Self::test_modules).collect();
        for source in &mut sources {
            let is_test = of_tests.iter().any(|test| source.path.strip_prefix(test).is_some_and(is_module_end));
            if is_test {
                source.code.clear();
            }
        }
        sources
    }

    pub(crate) fn new(path: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let code = without_tests(&tokens);
        Self { path: path.into(), text: text.into(), tokens, code }
    }

    /// A complaint about one of its lines.
    pub(crate) fn at(&self, line: usize, complaint: &str) -> String {
        format!("{}:{line}: {complaint}", self.path)
    }

    /// The library's module that it belongs to, as a file or a folder of `src`. None for the root and the binary.
    pub(crate) fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let name = inner.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main", "bin"].contains(&name)).then_some(name)
    }

    /// The modules of the crate that it names, with the line of each.
    pub(crate) fn imports(&self) -> Vec<(usize, &str)> {
        let code = &self.code;
        let mut imports = Vec::new();
        for at in 2..code.len() {
            if code[at - 2].text != "crate" || code[at - 1].text != "::" {
                continue;
            }
            if code[at].text != "{" {
                imports.push((code[at].line, code[at].text.as_str()));
                continue;
            }
            let mut depth = 0;
            for index in at..closing(code, at) {
                depth += depth_change(&code[index].text);
                if depth == 1 && ["{", ","].contains(&code[index].text.as_str()) && code[index + 1].text != "}" {
                    imports.push((code[index + 1].line, code[index + 1].text.as_str()));
                }
            }
        }
        imports
    }

    /// Functions with a body: the name, the first and the last line.
    pub(crate) fn functions(&self) -> Vec<(&str, usize, usize)> {
        let code = &self.code;
        let mut functions = Vec::new();
        for at in 0..code.len().saturating_sub(1) {
            let is_definition = code[at].text == "fn" && code[at + 1].text != "(";
            if is_definition && let Some(open) = body(code, at) {
                functions.push((code[at + 1].text.as_str(), code[at].line, code[closing(code, open)].line));
            }
        }
        functions
    }

    /// What `#[cfg(test)] mod name;` names, as paths without their ends.
    fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        let tokens = &self.tokens;
        let modules = (0..tokens.len()).filter(|at| is_test_attribute(&tokens[*at..])).filter_map(|at| {
            let end = end_of_attributes(tokens, at);
            let is_file = tokens.get(end)?.text == "mod" && tokens.get(end + 2)?.text == ";";
            is_file.then(|| format!("{folder}/{}", tokens[end + 1].text))
        });
        modules.collect()
    }
}

fn list(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path.display().to_string());
        }
    }
}

fn is_module_end(rest: &str) -> bool {
    rest == ".rs" || rest.starts_with('/')
}

/// The opening brace of the body of the item that begins at `at`, if it has one.
fn body(tokens: &[Token], at: usize) -> Option<usize> {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "{" if depth == 0 => return Some(index),
            ";" if depth == 0 => return None,
            text => depth += depth_change(text),
        }
    }
    None
}

/// The index of the bracket that closes the one at `open`, or of the last token.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        depth += depth_change(&token.text);
        if depth == 0 {
            return index;
        }
    }
    tokens.len() - 1
}

pub(crate) fn depth_change(text: &str) -> i32 {
    match text {
        "{" | "(" | "[" => 1,
        "}" | ")" | "]" => -1,
        _ => 0,
    }
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    tokens.iter().map(|token| token.text.as_str()).take(attribute.len()).eq(attribute)
}

/// Where the item begins whose first attribute is at `at`.
fn end_of_attributes(tokens: &[Token], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token.text == "#") {
        at = closing(tokens, at + 1) + 1;
    }
    at
}

/// The tokens without the items that only tests have.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut code = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_test_attribute(&tokens[at..]) {
            code.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let item = end_of_attributes(tokens, at);
        at = match body(tokens, item) {
            Some(open) => closing(tokens, open) + 1,
            None => item + tokens[item..].iter().take_while(|token| token.text != ";").count() + 1,
        };
    }
    code
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (len, token) = next_token(rest, first);
        if let Some(token) = token {
            tokens.push(Token { line, text: token.into() });
        }
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

/// How many bytes come next, and what token they are, if any.
fn next_token(rest: &str, first: char) -> (usize, Option<&str>) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if first.is_whitespace() {
        return (first.len_utf8(), None);
    }
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (block_comment_len(rest), None);
    }
    if let Some(len) = string_len(rest) {
        return (len, Some("\"\""));
    }
    if is_word(first) {
        let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        return (len, Some(&rest[..len]));
    }
    let len = if rest.starts_with("::") || rest.starts_with("=>") { 2 } else { first.len_utf8() };
    (len, Some(&rest[..len]))
}

fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => 1,
            [b'*', b'/', ..] => -1,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string or character that begins here; a lifetime is none.
fn string_len(rest: &str) -> Option<usize> {
    let prefix_len = rest.find(|c| !matches!(c, 'b' | 'r' | 'c'))?;
    let (prefix, body) = rest.split_at(prefix_len);
    if !["", "b", "r", "br", "c", "cr"].contains(&prefix) {
        return None;
    }
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let inner = body[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(prefix_len + hashes + 1 + inner.find(&end)? + end.len());
    }
    let quote = body.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let mut chars = body.char_indices().skip(1);
    let second = chars.clone().next()?.1;
    let is_lifetime = quote == '\'' && second != '\\' && chars.clone().nth(1)?.1 != '\'';
    if is_lifetime {
        return None;
    }
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(prefix_len + at + 1);
        }
    }
    None
}
