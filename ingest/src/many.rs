//! Lists that are nearly always of one.

use smallvec::SmallVec;

/// As many as a request has leads: one, as a rule, which takes no memory of its own.
pub(crate) type Many<T> = SmallVec<[T; 1]>;
