//! `Idempotency-Key`: the caller's own name for a request, so that sending it again is safe.

use axum::extract::FromRequestParts;
use http::request::Parts;
use leadway_domain::problem::Problem;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{Object, Type};

use crate::problem::Refusal;

/// Longest key, in bytes, as for providers.
const MAX_BYTES: usize = 200;

/// The request's `Idempotency-Key`; none where it is absent or empty.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = "The caller's own name for this request, at most 200 bytes: sent again, it is answered as the first one was.";
        let schema = Object::builder().schema_type(Type::String).max_length(Some(MAX_BYTES));
        let parameter = Parameter::builder().name("Idempotency-Key").parameter_in(ParameterIn::Header);
        vec![parameter.description(Some(text)).schema(Some(schema)).build()]
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let key = std::str::from_utf8(value.as_bytes()).map(str::trim).ok().filter(|key| key.len() <= MAX_BYTES);
        let refusal =
            || Problem::bad_request(format!("Idempotency-Key must be UTF-8 text of at most {MAX_BYTES} bytes."));
        let key = key.ok_or_else(refusal)?;
        Ok(Self((!key.is_empty()).then(|| key.to_owned())))
    }
}
