//! What a request's head says: where it goes, how its body is written, what makes it the same request.

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

impl<'a> Target<'a> {
    pub(crate) fn of(head: &'a Parts) -> Result<Self, Refusal> {
        let target = Self::of_path(head.uri.path()).ok_or(Refusal::NotFound)?;
        if head.method == Method::POST { Ok(target) } else { Err(Refusal::MethodNotAllowed) }
    }

    fn of_path(path: &'a str) -> Option<Self> {
        match path.strip_suffix('/').unwrap_or(path) {
            "/leads/receive" => Some(Self::Leads),
            "/appointments/receive" => Some(Self::Appointments),
            path => path.strip_prefix("/webhook/").filter(|id| id.starts_with("provider-")).map(Self::Webhook),
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
    path.starts_with("/webhook/") || Target::of_path(path).is_some()
}

/// How a body is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) format: Format,
    pub(crate) packing: Packing,
}

impl Written {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self { format: Format::of(headers)?, packing: Packing::of(headers)? })
    }
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
    /// The sender does not say.
    Unsaid,
}

impl Format {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Self::Unsaid) };
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        let ends_with_json = essence.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"));
        if essence.is_empty() {
            Ok(Self::Unsaid)
        } else if is("application/json") || ends_with_json {
            Ok(Self::Json)
        } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonlines") {
            Ok(Self::Lines)
        } else if is("application/x-www-form-urlencoded") {
            Ok(Self::Form)
        } else {
            Err(Refusal::UnsupportedType)
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
            ("/leads/receive", Some(Target::Leads)),
            ("/appointments/receive", Some(Target::Appointments)),
            ("/webhook/a", None),
            ("/leads", None),
        ] {
            assert_eq!(Target::of_path(path), target, "{path}");
        }
        assert!(serves("/webhook/a") && serves("/leads/receive") && !serves("/api/leads") && !serves("/"));
    }

    #[test]
    fn content_types_name_formats() {
        for (text, format) in [
            ("application/json; charset=utf-8", Some(Format::Json)),
            ("application/vnd.leads+JSON", Some(Format::Json)),
            ("application/x-ndjson", Some(Format::Lines)),
            ("application/jsonlines", Some(Format::Lines)),
            ("Application/X-WWW-Form-Urlencoded", Some(Format::Form)),
            ("", Some(Format::Unsaid)),
            ("text/xml", None),
            ("multipart/form-data; boundary=x", None),
        ] {
            assert_eq!(Format::of(&headers("content-type", text)).ok(), format, "{text}");
        }
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
