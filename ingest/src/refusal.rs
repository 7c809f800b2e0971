//! Why a request as a whole is not served, and how that is told.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode, Version};
use http_body_util::Full;
use leadway_domain::problem::{PROBLEM_JSON, Problem};
use leadway_eventlog::LogError;
use serde::Serialize;

use crate::json_error::JsonError;
use crate::limits::TooFast;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No such address.
    NotFound,
    /// Not a POST.
    MethodNotAllowed,
    /// This node is about to stop.
    Stopping,
    /// The submission window is not loaded yet.
    NotReady,
    /// This node holds as much as it may.
    Busy,
    /// No key, a wrong key, an unknown provider: all look the same.
    Unauthorized,
    /// The key is right, but the operator takes no leads from this provider.
    Inactive,
    /// A body that is nothing that is read, whatever its `Content-Type` says.
    UnsupportedType,
    /// A `Content-Encoding` that is not unpacked.
    UnsupportedEncoding,
    /// An `Idempotency-Key` that is too long or not text.
    IdempotencyKey,
    /// The body as sent is too large, in bytes.
    BodyTooLarge { limit: usize },
    /// The body unpacked is too large, in bytes.
    UnpackedTooLarge { limit: usize },
    /// The body took too long to arrive.
    BodyTooSlow { limit_ms: u64 },
    /// The body ended before its end.
    BodyCutShort,
    /// The body is not the gzip it is said to be.
    GzipBroken,
    /// The body is not the JSON it is said to be.
    Json(JsonError),
    /// The body is no XML that is read; says why, and at which byte.
    Xml { message: String, position: u64 },
    /// The body is not the multipart form it is said to be.
    Multipart(String),
    /// The body holds nothing.
    NoLead,
    /// The body is JSON, but neither an object nor an array.
    NotALead,
    /// More leads than one request may bring.
    TooManyLeads { limit: usize },
    /// A form with more fields than a lead may have.
    TooManyFields { limit: usize },
    /// More values than one request may hold.
    TooManyValues { limit: usize },
    /// More requests of one provider at one moment than it may have under way.
    TooManyAtOnce { limit: usize },
    /// More bytes of one provider than it may send in a day.
    TooMuchToday { limit: u64, seconds: u64 },
    /// The provider's rate limit.
    TooFast(TooFast),
    /// The log did not take it.
    Log(LogError),
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl From<TooFast> for Refusal {
    fn from(error: TooFast) -> Self {
        Self::TooFast(error)
    }
}

/// A problem document that also says where the JSON is wrong.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    problem: &'a Problem,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

impl Refusal {
    /// The problem in words; `pause` is when to come back to a node that cannot serve now, in seconds.
    pub(crate) fn problem(&self, pause: u64) -> Problem {
        let too_large = |detail: String| Problem::new(413, "too-large", "The request is too large", detail);
        match self {
            Self::NotFound => {
                Problem::not_found("Post leads to /webhook/provider-{id}, /leads/receive or /appointments/receive.")
            }
            Self::MethodNotAllowed => {
                Problem::new(405, "method-not-allowed", "Only POST is served here", "Send leads with POST.")
            }
            Self::Stopping => Problem::unavailable("This node is stopping. Send it again.", pause),
            Self::NotReady => Problem::unavailable("This node is starting. Send it again soon.", pause),
            Self::Busy => Problem::unavailable("This node has as much in hand as it can take. Send it again.", pause),
            Self::Unauthorized => Problem::unauthorized(
                "Send the provider's key as X-Api-Key, as Authorization: Bearer, as the password of Authorization: Basic \
                 or as query parameter key. A \
                 provider that is set to sign sends webhook-id, webhook-timestamp (within five minutes of now) and \
                 webhook-signature as Standard Webhooks says, or with signing \"legacy_body\" the body's HMAC-SHA256 as \
                 X-Signature; outside of /webhook/ together with X-Provider-Id.",
            ),
            Self::Inactive => Problem::new(
                403,
                "provider-inactive",
                "No leads are taken from this provider",
                "The key is right, but this provider is set inactive. Ask the operator to set is_active.",
            ),
            Self::UnsupportedType => Problem::new(
                415,
                "unsupported-media-type",
                "The body is nothing that is read here",
                "Send JSON (application/json), lines of JSON (application/x-ndjson, application/ndjson, \
                 application/jsonlines), a form (application/x-www-form-urlencoded or multipart/form-data) or XML \
                 (application/xml).",
            ),
            Self::UnsupportedEncoding => Problem::new(
                415,
                "unsupported-encoding",
                "The Content-Encoding is not read here",
                "Send the body with Content-Encoding: gzip, or without any.",
            ),
            Self::IdempotencyKey => {
                Problem::bad_request("Idempotency-Key must be UTF-8 text of at most 200 bytes. Send a shorter one.")
            }
            Self::BodyTooLarge { limit } => {
                too_large(format!("The body must have at most {limit} bytes. Send the leads in smaller requests."))
            }
            Self::UnpackedTooLarge { limit } => too_large(format!(
                "The body must have at most {limit} bytes once unpacked. Send the leads in smaller requests."
            )),
            Self::BodyTooSlow { limit_ms } => Problem::new(
                408,
                "body-timeout",
                "The body came too slowly",
                format!("The whole body must arrive within {limit_ms} milliseconds. Send it again."),
            ),
            Self::BodyCutShort => Problem::bad_request("The body ended before it was complete. Send it again."),
            Self::GzipBroken => {
                Problem::bad_request("The body is said to be gzip but cannot be unpacked. Pack and send it again.")
            }
            Self::Json(error) => {
                Problem::new(400, "invalid-json", "The body is not valid JSON", format!("{error}. Correct it there."))
            }
            Self::Xml { message, position } => Problem::new(
                400,
                "invalid-xml",
                "The body is no XML that is read here",
                format!("{message} (byte {position}). Correct it there."),
            ),
            Self::Multipart(message) => Problem::new(
                400,
                "invalid-form",
                "The body is not a form of several parts",
                format!("The multipart form cannot be read: {message}. Correct it and send it again."),
            ),
            Self::NoLead => Problem::bad_request("The body holds no lead. Send at least one."),
            Self::NotALead => {
                Problem::bad_request("The body must be a JSON object with a lead's fields, or an array of them.")
            }
            Self::TooManyLeads { limit } => {
                too_large(format!("One request may bring at most {limit} leads. Send the rest in further requests."))
            }
            Self::TooManyFields { limit } => too_large(format!("A form must have at most {limit} fields.")),
            Self::TooManyValues { limit } => too_large(format!(
                "One request may hold at most {limit} values, lists and objects. Send the leads in smaller requests."
            )),
            Self::TooManyAtOnce { limit } => Problem::too_many_requests(
                format!("At most {limit} such requests of this provider are handled at one moment. Send it again."),
                pause,
            ),
            Self::TooMuchToday { limit, seconds } => Problem::too_many_requests(
                format!("This provider may send {limit} bytes of leads a day. Send it again tomorrow (UTC)."),
                *seconds,
            ),
            Self::TooFast(TooFast::Wait { seconds, per_second }) => Problem::too_many_requests(
                format!("This provider may post {per_second} leads a second. Send it again after the pause."),
                *seconds,
            ),
            Self::TooFast(TooFast::Never { burst }) => too_large(format!(
                "This provider may post at most {burst} leads at once. Send the leads in smaller requests."
            )),
            Self::Log(LogError::TooLarge { limit, .. }) => {
                too_large(format!("One request may write at most {limit} bytes. Send the leads in smaller requests."))
            }
            Self::Log(error) if error.may_have_landed() => Problem::unavailable(
                "Whether this was recorded is not known. Send it again: a lead that was is answered as a duplicate.",
                pause,
            ),
            Self::Log(_) => Problem::unavailable("Leads cannot be recorded now. Send it again.", pause),
        }
    }

    /// The answer. Where the body was not read to its end, the connection is not used again.
    pub(crate) fn into_response(self, version: Version, pause: u64) -> Response<Full<Bytes>> {
        let problem = self.problem(pause);
        let place = if let Self::Json(error) = &self { Some(error) } else { None };
        let document = Document {
            problem: &problem,
            line: place.map(|p| p.line),
            column: place.map(|p| p.column),
            position: place.map(|p| p.position),
        };
        // Texts and numbers only: encoding them cannot fail.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut set = |name: HeaderName, value: HeaderValue| response.headers_mut().insert(name, value);
        set(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = problem.retry_after {
            set(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            Self::MethodNotAllowed => _ = set(ALLOW, HeaderValue::from_static("POST")),
            Self::Unauthorized => _ = set(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            // HTTP/2 has no such header: there the stream is reset and the connection goes on.
            Self::Stopping | Self::BodyTooLarge { .. } | Self::BodyTooSlow { .. } | Self::BodyCutShort
                if version < Version::HTTP_2 =>
            {
                _ = set(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
