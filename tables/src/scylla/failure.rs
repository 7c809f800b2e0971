//! What an error of the driver means.

use scylla::errors::{
    DbError, ExecutionError, NextPageError, NextRowError, PagerExecutionError, PrepareError, RequestAttemptError,
    RequestError,
};

use crate::TablesError;

/// Longest message of the database that is passed on, in bytes.
const MAX_MESSAGE: usize = 400;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The same request can succeed later. Whether it was carried out is not known.
    Transient(String),
    /// It cannot.
    Final(String),
}

impl Failure {
    pub(super) fn unexpected(what: impl std::fmt::Display) -> Self {
        Self::Final(format!("unexpected answer of the database: {what}"))
    }
}

impl From<Failure> for TablesError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transient(message) => Self::Unavailable(message),
            Failure::Final(message) => Self::Unusable(message),
        }
    }
}

impl From<&RequestAttemptError> for Failure {
    fn from(error: &RequestAttemptError) -> Self {
        let message = cut(error.to_string());
        let is_final = match error {
            RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => true,
            RequestAttemptError::DbError(error, _) => matches!(
                error,
                DbError::SyntaxError
                    | DbError::Invalid
                    | DbError::AlreadyExists { .. }
                    | DbError::AuthenticationError
                    | DbError::Unauthorized
                    | DbError::ConfigError
            ),
            _ => false,
        };
        if is_final { Self::Final(message) } else { Self::Transient(message) }
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        match &error {
            ExecutionError::LastAttemptError(attempt) => attempt.into(),
            ExecutionError::PrepareError(prepare) => prepare.clone().into(),
            ExecutionError::BadQuery(_) => Self::Final(cut(error.to_string())),
            _ => Self::Transient(cut(error.to_string())),
        }
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        match &error {
            PrepareError::AllAttemptsFailed { first_attempt } => first_attempt.into(),
            _ => Self::Transient(cut(error.to_string())),
        }
    }
}

impl From<PagerExecutionError> for Failure {
    fn from(error: PagerExecutionError) -> Self {
        match error {
            PagerExecutionError::PrepareError(error) => error.into(),
            PagerExecutionError::NextPageError(error) => error.into(),
            other => Self::Final(cut(other.to_string())),
        }
    }
}

impl From<NextPageError> for Failure {
    fn from(error: NextPageError) -> Self {
        match &error {
            NextPageError::RequestFailure(RequestError::LastAttemptError(attempt)) => attempt.into(),
            _ => Self::Transient(cut(error.to_string())),
        }
    }
}

impl From<NextRowError> for Failure {
    fn from(error: NextRowError) -> Self {
        match error {
            NextRowError::NextPageError(error) => error.into(),
            other => Self::Final(cut(other.to_string())),
        }
    }
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    message
}
