//! Requests and responses of HTTP/1.1 (RFC 9112), as far as an endpoint with short requests needs them.
//!
//! Rule: a request that is not understood gets a status code that says why, and the connection closes behind it, because it is not known
//! where the next request begins.

use std::fmt;
use std::time::SystemTime;

use httparse::{EMPTY_HEADER, Header, Status as Parsed};

/// The longest head of a request, in bytes.
pub(crate) const HEAD_LEN_MAX: u32 = 8 << 10;

/// The longest body of a request, in bytes.
pub(crate) const BODY_LEN_MAX: u64 = 4 << 10;

/// More headers than any client sends.
const HEADERS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Patch,
    Other,
}

/// A request, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) host: Option<String>,
    pub(crate) origin: Option<String>,
    /// A browser sends it for a page of another site, and not because a person goes to this page.
    pub(crate) is_cross_site: bool,
    pub(crate) accept: String,
    pub(crate) body_len: u64,
    /// The client waits for a permission to send the body (RFC 9110, section 10.1.1).
    pub(crate) expects_continue: bool,
    /// Another request may follow on this connection.
    pub(crate) keeps_alive: bool,
}

/// Why a request gets no other response than this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(status: Status, reason: impl fmt::Display) -> Self {
        Self { status, reason: reason.to_string() }
    }

    pub(crate) fn head_too_large() -> Self {
        let reason = format_args!("the head of the request exceeds the limit of {HEAD_LEN_MAX} bytes");
        Self::new(Status::HeadTooLarge, reason)
    }
}

/// One variant for each status code that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    LengthRequired,
    ContentTooLarge,
    HeadTooLarge,
    NotImplemented,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    /// The code and its phrase (RFC 9110, section 15; RFC 6585).
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::Conflict => "409 Conflict",
            Self::LengthRequired => "411 Length Required",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

impl Request {
    /// Parses a head, which ends with an empty line; `None` if a part of it is missing.
    pub(crate) fn parse(head: &[u8]) -> Result<Option<Self>, Refusal> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(_) if head.len() > HEAD_LEN_MAX as usize => return Err(Refusal::head_too_large()),
            Ok(Parsed::Complete(_)) => {}
            Ok(Parsed::Partial) => return Ok(None),
            Err(httparse::Error::Version) if names_http(head) => {
                let reason = "the version of HTTP is not supported; use HTTP/1.1";
                return Err(Refusal::new(Status::VersionNotSupported, reason));
            }
            Err(httparse::Error::TooManyHeaders) => {
                let reason = format_args!("the request has more than {HEADERS_MAX} header fields");
                return Err(Refusal::new(Status::HeadTooLarge, reason));
            }
            Err(error) => {
                return Err(Refusal::new(Status::BadRequest, format_args!("this is no HTTP request: {error}")));
            }
        }
        let is_1_1 = parsed.version == Some(1);
        let method = match parsed.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("PATCH") => Method::Patch,
            _ => Method::Other,
        };
        let Target { authority, path, query } = target(parsed.path.unwrap_or_default())?;
        let fields = Fields(parsed.headers);
        let host = fields.only("host")?;
        if is_1_1 && host.is_none() {
            return Err(Refusal::new(Status::BadRequest, "the request has no Host"));
        }
        if fields.all("transfer-encoding").next().is_some() {
            let reason = "Transfer-Encoding is not supported; give the Content-Length of the body";
            return Err(Refusal::new(Status::NotImplemented, reason));
        }
        let body_len = match fields.only("content-length")? {
            None => None,
            Some(len) => Some(content_len(len)?),
        };
        if method == Method::Patch && body_len.is_none() {
            return Err(Refusal::new(Status::LengthRequired, "the request has no Content-Length"));
        }
        let options = || fields.all("connection").flat_map(|value| value.split(',')).map(str::trim);
        let has_option = |option: &str| options().any(|other| other.eq_ignore_ascii_case(option));
        let is_navigation = path == "/" && fields.all("sec-fetch-mode").any(|mode| mode == "navigate");
        let is_from_elsewhere = fields.all("sec-fetch-site").any(|site| site == "cross-site");
        let continues = |value: &str| value.eq_ignore_ascii_case("100-continue");
        Ok(Some(Self {
            method,
            path,
            query,
            // The target's counts, if it has one.
            host: authority.or(host).map(str::to_owned),
            origin: fields.only("origin")?.map(str::to_owned),
            accept: fields.all("accept").collect::<Vec<_>>().join(","),
            body_len: body_len.unwrap_or(0),
            is_cross_site: is_from_elsewhere && !is_navigation,
            expects_continue: is_1_1 && fields.all("expect").any(continues),
            keeps_alive: is_1_1 && !has_option("close"),
        }))
    }

    /// The value of a parameter in the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Whether the first line ends with a version of HTTP, whichever.
fn names_http(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    version.starts_with(b"HTTP/")
}

/// A target: `/path?query`, or the same behind a scheme and an authority (RFC 9112, section 3.2.2).
struct Target<'a> {
    authority: Option<&'a str>,
    path: String,
    query: Vec<(String, String)>,
}

fn target(text: &str) -> Result<Target<'_>, Refusal> {
    const SCHEME: &str = "http://";
    let refusal = || Refusal::new(Status::BadRequest, "the target of the request is no path");
    let (authority, origin_form) = match text.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let (authority, origin_form) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority), origin_form)
        }
        _ => (None, text),
    };
    let (path, query) = origin_form.split_once('?').unwrap_or((origin_form, ""));
    let path = if path.is_empty() && authority.is_some() { "/" } else { path };
    if !path.starts_with('/') || authority == Some("") {
        return Err(refusal());
    }
    let query = form_urlencoded::parse(query.as_bytes());
    let query = query.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    Ok(Target { authority, path: path.to_owned(), query })
}

fn content_len(text: &str) -> Result<u64, Refusal> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(Refusal::new(Status::BadRequest, "the Content-Length is no number"));
    }
    match text.parse() {
        Ok(len) if len <= BODY_LEN_MAX => Ok(len),
        Ok(_) | Err(_) => {
            let reason = format_args!("a body of {text} bytes exceeds the limit of {BODY_LEN_MAX}");
            Err(Refusal::new(Status::ContentTooLarge, reason))
        }
    }
}

/// The header fields of a request.
struct Fields<'a>(&'a [Header<'a>]);

impl<'a> Fields<'a> {
    /// The values of a field. One that is no text matches nothing.
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| str::from_utf8(field.value).unwrap_or("\u{fffd}").trim())
    }

    /// The value of a field that must not be there twice.
    fn only(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Refusal::new(Status::BadRequest, format_args!("the request has the field {name} twice")));
        }
        Ok(first)
    }
}

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: Status,
    content_type: &'static str,
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The body has no length and ends with the connection.
    is_stream: bool,
}

pub(crate) const JSON: &str = "application/json";

impl Response {
    pub(crate) fn new(status: Status, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, fields: Vec::new(), body: body.into(), is_stream: false }
    }

    pub(crate) fn json(status: Status, body: &impl serde::Serialize) -> Self {
        // Nothing that is serialized here can fail to be.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self::new(status, JSON, body)
    }

    pub(crate) fn error(refusal: &Refusal) -> Self {
        Self::json(refusal.status, &serde_json::json!({ "error": refusal.reason }))
    }

    /// A stream of events, without its events.
    pub(crate) fn stream() -> Self {
        Self { is_stream: true, ..Self::new(Status::Ok, "text/event-stream", Vec::new()) }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The bytes of the response. To HEAD, those of its head.
    pub(crate) fn bytes(&self, is_head: bool, keeps_alive: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {}\r\nDate: {}\r\nContent-Type: {}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\n",
            self.status.line(),
            httpdate::fmt_http_date(SystemTime::now()),
            self.content_type,
        );
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.is_stream {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        if self.is_stream || !keeps_alive {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Result<Request, Status> {
        let head = format!("{}\r\n\r\n", lines.replace('\n', "\r\n"));
        Request::parse(head.as_bytes()).map(Option::unwrap).map_err(|refusal| refusal.status)
    }

    #[test]
    fn request_has_its_method_path_query_and_fields() {
        let request =
            parse("GET /connections?top=bytes&n=5&x=%2F+y HTTP/1.1\nHOST: [::1]:9100\nAccept: a\naccept: b").unwrap();
        assert_eq!((request.method, request.path.as_str()), (Method::Get, "/connections"));
        assert_eq!((request.parameter("top"), request.parameter("n")), (Some("bytes"), Some("5")));
        assert_eq!((request.parameter("x"), request.parameter("y")), (Some("/ y"), None));
        assert_eq!((request.host.as_deref(), request.accept.as_str()), (Some("[::1]:9100"), "a,b"));
        assert!(request.keeps_alive);
        let absolute = parse("HEAD http://localhost:1/metrics?a HTTP/1.1\nHost: localhost:1").unwrap();
        assert_eq!((absolute.method, absolute.path.as_str()), (Method::Head, "/metrics"));
        assert_eq!(parse("GET http://localhost HTTP/1.1\nHost: x").unwrap().path, "/");
        let other = parse("GET HTTP://evil.example/a HTTP/1.1\nHost: localhost").unwrap();
        assert_eq!((other.host.as_deref(), other.path.as_str()), (Some("evil.example"), "/a"));
        let patch = parse("PATCH / HTTP/1.1\nHost: x\nContent-Length: 1\nExpect: 100-Continue").unwrap();
        assert!(patch.expects_continue && !other.expects_continue);
    }

    #[test]
    fn request_for_a_page_of_another_site_is_known_unless_it_opens_the_page() {
        for (path, fields, expected) in [
            ("/", "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", false),
            ("/", "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors", true),
            ("/connections/0.1", "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", true),
            ("/connections/0.1", "Sec-Fetch-Site: same-origin\nSec-Fetch-Mode: cors", false),
            ("/connections/0.1", "Accept: */*", false),
        ] {
            let request = parse(&format!("GET {path} HTTP/1.1\nHost: x\n{fields}")).unwrap();
            assert_eq!(request.is_cross_site, expected, "{path} {fields}");
        }
    }

    #[test]
    fn connection_persists_as_its_version_and_option_say() {
        for (version, option, expected) in [
            ("1.1", "", true),
            ("1.1", "\nConnection: close", false),
            ("1.1", "\nConnection: x, Close", false),
            ("1.0", "", false),
            ("1.0", "\nConnection: keep-alive", false),
        ] {
            let request = parse(&format!("GET / HTTP/{version}\nHost: x{option}")).unwrap();
            assert_eq!(request.keeps_alive, expected, "{version} {option}");
        }
    }

    #[test]
    fn request_that_is_not_understood_is_refused_by_its_kind() {
        let many = format!("GET / HTTP/1.1\nHost: x{}", "\na: b".repeat(HEADERS_MAX));
        for (lines, status) in [
            ("hello", Status::BadRequest),
            ("GET / HTTP/1.1", Status::BadRequest),
            ("GET / HTTP/1.1\nHost: a\nHost: b", Status::BadRequest),
            ("GET / HTTP/1.1\nHost : a", Status::BadRequest),
            ("GET * HTTP/1.1\nHost: a", Status::BadRequest),
            ("GET ftp://x/ HTTP/1.1\nHost: a", Status::BadRequest),
            ("GET http:///a HTTP/1.1\nHost: a", Status::BadRequest),
            ("PRI * HTTP/2.0", Status::VersionNotSupported),
            ("GET / HTTP/3.0\nHost: a", Status::VersionNotSupported),
            ("GET / HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 1", Status::BadRequest),
            ("GET / HTTP/1.1\nHost: a\nContent-Length: -1", Status::BadRequest),
            ("GET / HTTP/1.1\nHost: a\nContent-Length: 1x", Status::BadRequest),
            ("PATCH / HTTP/1.1\nHost: a\nContent-Length: 4097", Status::ContentTooLarge),
            ("PATCH / HTTP/1.1\nHost: a\nContent-Length: 99999999999999999999999", Status::ContentTooLarge),
            ("PATCH / HTTP/1.1\nHost: a", Status::LengthRequired),
            ("PATCH / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked", Status::NotImplemented),
            (&many, Status::HeadTooLarge),
        ] {
            assert_eq!(parse(lines), Err(status), "{lines}");
        }
    }

    #[test]
    fn head_in_pieces_is_complete_or_refused_as_soon_as_possible() {
        let head = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        for len in 0..head.len() {
            assert_eq!(Request::parse(&head[..len]), Ok(None), "{len}");
        }
        assert!(Request::parse(head).unwrap().is_some());
        assert!(Request::parse(b"GET / HTTP/1.0\n\n").unwrap().is_some());
        for wrong in [&b"\x16"[..], b"\0", b"\x80", b"GET /\0", b"GET / HTTX", b"GET / HTTP/1.1\r\nHost\n"] {
            assert_eq!(Request::parse(wrong).unwrap_err().status, Status::BadRequest, "{wrong:?}");
        }
        let of_len = |len: usize| format!("GET / HTTP/1.0\r\nx: {}\r\n\r\n", "x".repeat(len - 23));
        assert!(Request::parse(of_len(8_192).as_bytes()).unwrap().is_some());
        assert_eq!(Request::parse(of_len(8_193).as_bytes()), Err(Refusal::head_too_large()));
        assert_eq!(Request::parse(&of_len(8_195).as_bytes()[..8_193]), Err(Refusal::head_too_large()));
    }

    #[test]
    fn response_to_head_has_the_length_and_no_body() {
        let response = Response::new(Status::Ok, "text/plain", "hello").with("Allow", "GET");
        let text = |is_head, keeps_alive| String::from_utf8(response.bytes(is_head, keeps_alive)).unwrap();
        for is_head in [false, true] {
            let (head, body) =
                text(is_head, true).split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: ") && head.contains("\r\nContent-Length: 5"), "{head}");
            assert!(head.contains("\r\nAllow: GET") && !head.contains("Connection"), "{head}");
            assert_eq!(body, if is_head { "" } else { "hello" });
        }
        assert!(text(false, false).contains("\r\nConnection: close\r\n"));
        let stream = String::from_utf8(Response::stream().bytes(false, true)).unwrap();
        assert!(stream.contains("Connection: close") && !stream.contains("Content-Length"), "{stream}");
    }
}
