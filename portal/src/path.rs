//! Ids in paths.

use axum::extract::FromRequestParts;
use http::request::Parts;
use leadway_domain::problem::Problem;
use serde::de::DeserializeOwned;

use crate::problem::Refusal;

/// The parts of the path that name something. All are read as text: what is no id is nothing's id, so the answer is the
/// same 404 as for an id that nothing has.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(ids)) => Ok(Self(ids)),
            // Percent signs can stand for bytes that are no text.
            Err(_) => Err(Problem::not_found("The path is not UTF-8; nothing has such a name.").into()),
        }
    }
}
