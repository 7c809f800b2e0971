//! Rules as CSV: the columns of the import and the export, which round-trip.

use leadway_domain::problem::FieldError;
use leadway_domain::settings::Rule;

use crate::rule_check::RuleDraft;
use crate::rules_report::{ImportRow, ImportRows};
use leadway_domain::formula::{meant, neutral};

/// The columns, in the order in which the export writes them.
const COLUMNS: [&str; 8] =
    ["id", "workspace_id", "product_types", "zip_codes", "priority", "is_active", "notes", "external_id"];
/// Without these there is no rule.
const REQUIRED: [&str; 3] = ["workspace_id", "product_types", "zip_codes"];

/// An import of more rows than there may be rules is refused before any row is checked.
pub(crate) fn too_many_rows(max: usize) -> FieldError {
    FieldError::new("rows", "too_many", format!("must be at most {max}, as LEADWAY_PORTAL__MAX_RULES allows"))
}

/// Reads CSV with a head. An error is about the text as a whole: its head, or too many rows.
pub(crate) fn read(bytes: &[u8], max_rows: usize) -> Result<ImportRows, FieldError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let broken = |e: csv::Error| FieldError::new("csv", "invalid", format!("cannot be read as CSV: {e}"));
    let head = reader.headers().map_err(broken)?.clone();
    let names: Vec<String> = head.iter().map(|name| name.to_ascii_lowercase()).collect();
    check_head(&names)?;
    let mut rows = Vec::new();
    for (index, record) in reader.byte_records().enumerate() {
        let record = record.map_err(broken)?;
        if index == max_rows {
            return Err(too_many_rows(max_rows));
        }
        let line = record.position().map_or(0, |position| position.line() as usize);
        let wrong = |message: String| Err(FieldError::new("row", "invalid", message));
        let draft = match csv::StringRecord::from_byte_record(record) {
            Err(_) => wrong("must be UTF-8".to_owned()),
            Ok(record) if record.len() != names.len() => {
                wrong(format!("has {} cells where the head has {}", record.len(), names.len()))
            }
            Ok(record) => Ok(read_row(|column: &str| {
                names.iter().position(|n| n == column).and_then(|i| record.get(i)).unwrap_or_default()
            })),
        };
        rows.push(ImportRow { number: index + 1, line, column: 1, draft });
    }
    Ok(ImportRows { rows, columns: names })
}

fn check_head(names: &[String]) -> Result<(), FieldError> {
    let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|n| !COLUMNS.contains(n)).collect();
    if names.iter().enumerate().any(|(i, name)| names.iter().skip(i + 1).any(|other| other == name)) {
        return Err(FieldError::new("csv", "invalid", "the first line must name no column twice"));
    }
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|c| !names.iter().any(|n| n == c)).collect();
    if unknown.is_empty() && missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the first line must name the columns {}; missing: [{}], unknown: [{}]",
        COLUMNS.join(","),
        missing.join(", "),
        unknown.join(", ")
    );
    Err(FieldError::new("csv", "invalid", message))
}

fn read_row<'r>(cell: impl Fn(&str) -> &'r str) -> RuleDraft {
    let mut errors = Vec::new();
    let priority = match cell("priority") {
        "" => None,
        text => text
            .parse()
            .inspect_err(|_| errors.push(FieldError::new("priority", "invalid", "must be a whole number")))
            .ok(),
    };
    let is_active = match cell("is_active").to_ascii_lowercase().as_str() {
        "" => None,
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => {
            errors.push(FieldError::new("is_active", "invalid", "must be true or false"));
            None
        }
    };
    let list = |text: &str, separator: &[char]| -> Vec<String> {
        text.split(separator).map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
    };
    RuleDraft {
        id: Some(cell("id").to_owned()).filter(|id| !id.is_empty()),
        workspace_id: Some(cell("workspace_id").to_owned()),
        product_types: Some(list(meant(cell("product_types")), &['|'])),
        zip_codes: Some(list(cell("zip_codes"), &['|', ' '])),
        priority,
        is_active,
        notes: meant(cell("notes")).to_owned(),
        external_id: Some(meant(cell("external_id")).to_owned()).filter(|id| !id.is_empty()),
        errors,
    }
}

/// The first line of CSV.
pub(crate) fn head() -> String {
    COLUMNS.join(",") + "\n"
}

/// Writes rules as the lines below the head. No cell is one that a spreadsheet runs as a formula.
pub(crate) fn write<'a>(rules: impl Iterator<Item = &'a Rule>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for rule in rules {
        writer.write_record([
            rule.id.to_string(),
            rule.workspace_id.to_string(),
            neutral(&rule.product_types.join("|")).into_owned(),
            rule.zip_codes.join("|"),
            rule.priority.to_string(),
            rule.is_active.to_string(),
            neutral(&rule.notes).into_owned(),
            neutral(rule.external_id.as_deref().unwrap_or_default()).into_owned(),
        ])?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_with_its_defaults() {
        let text = "\u{feff}Workspace_ID,product_types,zip_codes\nsolar,Solar | Battery,90210 902*|CA\n";
        let rows = read(text.as_bytes(), 1).unwrap().rows;
        let rule = rows[0].draft.as_ref().unwrap();
        assert_eq!(rule.product_types.as_deref().unwrap(), ["Solar", "Battery"]);
        assert_eq!(rule.zip_codes.as_deref().unwrap(), ["90210", "902*", "CA"]);
        assert_eq!((rule.priority, rule.is_active, &rule.id), (None, None, &None));
    }

    #[test]
    fn a_wrong_head_and_wrong_cells_are_named() {
        let head = read(b"workspace,product_types,zip_codes\n", 9).err().unwrap();
        let twice = read(b"workspace_id,product_types,zip_codes,Zip_Codes\n", 9).err().unwrap();
        assert!(twice.message.contains("twice"), "{}", twice.message);
        assert!(head.message.contains("missing: [workspace_id], unknown: [workspace]"), "{}", head.message);
        let rows =
            read(b"workspace_id,product_types,zip_codes,priority,is_active\na,Solar,90210,x,maybe\nb,Solar\n", 9);
        let rows = rows.unwrap().rows;
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(rows[0].draft.as_ref().unwrap().errors.len(), 2);
        assert_eq!(rows[1].draft.as_ref().err().unwrap().field, "row");
    }

    #[test]
    fn more_rows_than_there_may_be_rules_are_refused() {
        let text = b"workspace_id,product_types,zip_codes\na,b,c\na,b,c\n";
        assert_eq!(read(text, 2).unwrap().rows.len(), 2);
        assert_eq!(read(text, 1).err().unwrap().code, "too_many");
    }
}
