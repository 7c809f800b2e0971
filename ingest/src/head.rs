//! What a request's head says: where it goes, how its body is written, what makes it the same request.

use bytes::Bytes;
use encoding_rs::Encoding;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use leadway_domain::record::PostedAs;

use crate::refusal::Refusal;

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest `Idempotency-Key`, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 200;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// `/webhook/provider-{id}`, with the last part of the path.
    Webhook(&'a str),
    /// `/leads/receive`
    Leads,
    /// `/appointments/receive`
    Appointments,
}

/// What carries the leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// The body of a POST.
    Body,
    /// The query of a GET, for providers that may.
    Query,
}

impl<'a> Target<'a> {
    pub(crate) fn of(head: &'a Parts) -> Result<(Self, Carrier), Refusal> {
        let target = Self::of_path(head.uri.path()).ok_or(Refusal::NotFound)?;
        match head.method {
            Method::POST => Ok((target, Carrier::Body)),
            Method::GET => Ok((target, Carrier::Query)),
            _ => Err(Refusal::MethodNotAllowed),
        }
    }

    /// Software that joins addresses doubles slashes and adds one at the end: they mean nothing.
    pub(crate) fn of_path(path: &'a str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        match (parts.next()?, parts.next()?, parts.next()) {
            ("leads", "receive", None) => Some(Self::Leads),
            ("appointments", "receive", None) => Some(Self::Appointments),
            ("webhook", id, None) if id.starts_with("provider-") => Some(Self::Webhook(id)),
            _ => None,
        }
    }

    /// What is posted there.
    pub(crate) fn posted_as(self) -> PostedAs {
        match self {
            Self::Webhook(_) | Self::Leads => PostedAs::Lead,
            Self::Appointments => PostedAs::Appointment,
        }
    }
}

/// Whether a path is for this service to answer, if only with 404.
pub(crate) fn serves(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    parts.next() == Some("webhook") || Target::of_path(path).is_some()
}

/// Whether a parameter of the query is the provider's key.
pub(crate) fn is_key(name: &str) -> bool {
    matches!(name, "key" | "api_key")
}

/// The query as a form, without the key.
pub(crate) fn form_of(query: &str) -> Bytes {
    let is_field = |pair: &&str| !is_key(pair.split('=').next().unwrap_or_default());
    Bytes::from(query.split('&').filter(is_field).collect::<Vec<_>>().join("&"))
}

/// How a body is written, as its head says.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) format: Format,
    pub(crate) packing: Packing,
    /// The charset, where one that is known is named.
    pub(crate) charset: Option<&'static Encoding>,
    /// What parts the fields of a multipart form.
    pub(crate) boundary: Option<Box<str>>,
}

impl Written {
    /// A form in plain text.
    pub(crate) const FORM: Self = Self { format: Format::Form, packing: Packing::Plain, charset: None, boundary: None };

    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let said = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or_default());
        let (essence, parameters) = said.split_once(';').unwrap_or((said, ""));
        let format = Format::of(essence.trim());
        Ok(Self {
            format,
            packing: Packing::of(headers)?,
            charset: parameter(parameters, "charset").and_then(|label| Encoding::for_label(label.as_bytes())),
            boundary: match format {
                Format::Multipart => parameter(parameters, "boundary").map(Box::from),
                _ => None,
            },
        })
    }
}

/// The value of a parameter of a `Content-Type`.
fn parameter<'p>(parameters: &'p str, name: &str) -> Option<&'p str> {
    let mut pairs = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, value) = pairs.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"')).filter(|value| !value.is_empty())
}

/// How leads are written in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object, or an array of them.
    Json,
    /// One JSON object on each line.
    Lines,
    /// `application/x-www-form-urlencoded`: one lead.
    Form,
    /// `multipart/form-data`: one lead.
    Multipart,
    /// XML: one lead.
    Xml,
    /// The sender does not say, or nothing that helps.
    Unsaid,
}

impl Format {
    /// What a media type says. Many senders name a wrong one: the body has the last word.
    fn of(essence: &str) -> Self {
        let is = |names: &[&str]| names.iter().any(|name| essence.eq_ignore_ascii_case(name));
        let suffix = essence.rsplit_once('+').map_or("", |(_, suffix)| suffix);
        if is(&["application/json"]) || suffix.eq_ignore_ascii_case("json") {
            Self::Json
        } else if is(&["application/x-ndjson", "application/ndjson", "application/jsonlines"]) {
            Self::Lines
        } else if is(&["application/x-www-form-urlencoded"]) {
            Self::Form
        } else if is(&["multipart/form-data"]) {
            Self::Multipart
        } else if is(&["application/xml", "text/xml"]) || suffix.eq_ignore_ascii_case("xml") {
            Self::Xml
        } else {
            Self::Unsaid
        }
    }
}

/// How the body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As it is.
    Plain,
    /// gzip.
    Gzip,
}

impl Packing {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let text = values.next().map_or("", |value| value.to_str().unwrap_or("unreadable").trim());
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        if values.next().is_some() {
            Err(Refusal::UnsupportedEncoding)
        } else if text.is_empty() || is("identity") {
            Ok(Self::Plain)
        } else if is("gzip") || is("x-gzip") {
            Ok(Self::Gzip)
        } else {
            Err(Refusal::UnsupportedEncoding)
        }
    }
}

/// The request's `Idempotency-Key`; an empty one is none.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::IdempotencyKey)?.trim();
    if key.len() > MAX_IDEMPOTENCY_KEY {
        return Err(Refusal::IdempotencyKey);
    }
    Ok(Some(key).filter(|key| !key.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn paths_are_served_or_not() {
        for (path, target) in [
            ("/webhook/provider-a", Some(Target::Webhook("provider-a"))),
            ("/webhook/provider-a/", Some(Target::Webhook("provider-a"))),
            ("//webhook///provider-a//", Some(Target::Webhook("provider-a"))),
            ("/leads/receive", Some(Target::Leads)),
            ("//leads/receive", Some(Target::Leads)),
            ("/leads//receive/", Some(Target::Leads)),
            ("/appointments/receive", Some(Target::Appointments)),
            ("/webhook/a", None),
            ("/webhook/provider-a/b", None),
            ("/leads", None),
            ("/leads/receive/b", None),
            ("/", None),
        ] {
            assert_eq!(Target::of_path(path), target, "{path}");
        }
        assert!(serves("/webhook/a") && serves("//webhook/a") && serves("/leads/receive"));
        assert!(!serves("/api/leads") && !serves("/") && !serves("/webhooks/a"));
    }

    #[test]
    fn content_types_name_formats() {
        for (text, format) in [
            ("application/json; charset=utf-8", Format::Json),
            ("application/vnd.leads+JSON", Format::Json),
            ("application/x-ndjson", Format::Lines),
            ("application/jsonlines", Format::Lines),
            ("Application/X-WWW-Form-Urlencoded", Format::Form),
            ("text/xml;charset=utf-8", Format::Xml),
            ("application/soap+xml", Format::Xml),
            ("multipart/form-data; boundary=x", Format::Multipart),
            ("text/plain", Format::Unsaid),
            ("", Format::Unsaid),
        ] {
            let written = Written::of(&headers("content-type", text));
            assert_eq!(written.ok().map(|written| written.format), Some(format), "{text}");
        }
        let of = |text: &str| Written::of(&headers("content-type", text)).ok();
        let multipart = of("multipart/form-data; charset=\"iso-8859-1\"; Boundary=\"a b=c\"").unwrap();
        assert_eq!(multipart.boundary.as_deref(), Some("a b=c"));
        assert_eq!(multipart.charset, Some(encoding_rs::WINDOWS_1252));
        assert_eq!(of("text/plain; charset=klingon").unwrap().charset, None);
    }

    #[test]
    fn a_query_is_a_form_without_its_key() {
        assert_eq!(form_of("key=k&a=1&api_key=k&b=2&keys=3"), "a=1&b=2&keys=3");
    }

    #[test]
    fn only_gzip_is_unpacked() {
        for (text, packing) in
            [("gzip", Some(Packing::Gzip)), ("identity", Some(Packing::Plain)), ("br", None), ("gzip, gzip", None)]
        {
            assert_eq!(Packing::of(&headers("content-encoding", text)).ok(), packing, "{text}");
        }
    }
}
