//! How large a lead is as a whole: it is kept and sent on several times over.

use simd_json::BorrowedValue;
use simd_json::borrowed::Object;

use crate::problem::FieldError;

/// What a number, `true` or `null` counts for.
const SCALAR: usize = 8;
/// Quotes and what parts a text from the next.
const MARKS: usize = 4;

/// Refuses a lead of more than `max` bytes, and names its largest field.
pub(super) fn check(object: &Object<'_>, max: usize) -> Result<(), Box<FieldError>> {
    let whole = of_object(object);
    if whole <= max {
        return Ok(());
    }
    let sizes = object.iter().map(|(name, value)| (of(value), name));
    let (largest, name) = sizes.max().map_or((0, ""), |(size, name)| (size, name));
    let message = format!(
        "has {largest} bytes of the lead's {whole}; a lead as a whole must have at most {max}: leave out what nobody needs"
    );
    Err(Box::new(FieldError::new(name, "too_large", message)))
}

/// About how many bytes of JSON it is.
fn of(value: &BorrowedValue<'_>) -> usize {
    match value {
        BorrowedValue::Static(_) => SCALAR,
        BorrowedValue::String(text) => text.len() + MARKS,
        BorrowedValue::Array(items) => items.iter().map(of).sum::<usize>() + MARKS,
        BorrowedValue::Object(object) => of_object(object),
    }
}

fn of_object(object: &Object<'_>) -> usize {
    object.iter().map(|(name, value)| name.len() + MARKS + of(value)).sum::<usize>() + MARKS
}
