//! The rows of an import, and what is wrong with them: where it stands in what was sent.

use leadway_domain::problem::{FieldError, Problem};
use serde::Serialize;
use utoipa::ToSchema;

use crate::rule_check::RuleDraft;

/// Most errors that one answer lists.
const MAX_ERRORS: usize = 1_000;

/// What was read of an import.
pub(crate) struct ImportRows {
    pub(crate) rows: Vec<ImportRow>,
    /// What each column of CSV is called; empty for JSON.
    pub(crate) columns: Vec<String>,
}

/// What was read of one row, counted from 1 (without the head).
pub(crate) struct ImportRow {
    pub(crate) number: usize,
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
    /// In CSV, a field's own column is told instead.
    pub(crate) column: usize,
    /// An error is about the row as a whole.
    pub(crate) draft: Result<RuleDraft, FieldError>,
}

/// Something that is wrong with a row of an import.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "row": 2, "line": 3, "column": 3, "field": "zip_codes", "code": "invalid", "message": "\"9021\" must be a ZIP …",
}))]
pub(crate) struct RowError {
    /// Which row, counted from 1 without the head.
    row: usize,
    /// On which line of what was sent the row begins, counted from 1.
    line: usize,
    /// In which column: of CSV the number of the field's column, else the character at which the row begins.
    column: usize,
    /// Of which field; `row` when it is about the row as a whole.
    field: String,
    /// What kind of error, for programs.
    code: String,
    /// What the rule is.
    message: String,
}

/// What is wrong with an import: all is counted, the first is told.
pub(crate) struct Report {
    columns: Vec<String>,
    pub(crate) told: Vec<RowError>,
    found: usize,
    /// How many rows have something wrong.
    pub(crate) rejected: usize,
}

/// Where a row stands.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) row: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Report {
    pub(crate) fn new(columns: Vec<String>) -> Self {
        Self { columns, told: Vec::new(), found: 0, rejected: 0 }
    }

    /// Notes what is wrong with a row.
    pub(crate) fn add(&mut self, place: Place, errors: Vec<FieldError>) {
        self.found += errors.len();
        self.rejected += usize::from(!errors.is_empty());
        let room = MAX_ERRORS - self.told.len();
        let Self { columns, told, .. } = self;
        told.extend(errors.into_iter().take(room).map(|FieldError { field, code, message }| {
            let own = columns.iter().position(|column| *column == field);
            let column = own.map_or(place.column, |index| index + 1);
            RowError { row: place.row, line: place.line, column, field, code, message }
        }));
    }

    /// Refuses the import if anything is wrong with it.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let lenient = "or import the good rows with lenient=true";
        let detail = match self.found {
            0 => return Ok(()),
            1 => format!("1 error; nothing was imported. Correct the row and send all of it again, {lenient}."),
            found @ 0..=MAX_ERRORS => {
                format!("{found} errors; nothing was imported. Correct the rows and send all of it again, {lenient}.")
            }
            found => format!(
                "{found} errors, of which the first {MAX_ERRORS} are listed; nothing was imported. Correct the rows and \
                 send all of it again, {lenient}."
            ),
        };
        let told = self.told.iter().map(|e| {
            let field = format!("rows[{}].{}", e.row, e.field);
            FieldError::new(&field, &e.code, format!("{} (line {}, column {})", e.message, e.line, e.column))
        });
        let mut problem = Problem::validation(Vec::new()).with_errors(told.collect());
        problem.detail = detail;
        Err(problem)
    }
}
