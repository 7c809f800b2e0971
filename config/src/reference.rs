//! The settings reference, generated from the types, their documentation and their defaults.

use std::fmt::Write;

use serde_json::Value;

use crate::Config;

/// The reference as Markdown: every setting with its variable, default and meaning.
pub fn reference() -> String {
    let schema = schemars::schema_for!(Config).to_value();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut out = String::from(
        "# Settings\n\nGenerated from the source by `leadway check-config --reference`; do not edit.\n\n\
         A setting comes from, in rising precedence: its default, the file (`--config leadway.toml`), the environment, \
         the command line.\nProviders, workspaces, rules, products and prices are not settings: the API keeps them.\n\n\
         `LEADWAY_ADMIN_KEY` (environment only) sets the key of the account `admin`; without it one is made at the first \
         start and printed once.\n",
    );
    section(&mut out, &schema, &schema, &defaults, &[]);
    out
}

fn section(out: &mut String, root: &Value, schema: &Value, defaults: &Value, path: &[&str]) {
    let empty = serde_json::Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let title = if path.is_empty() { "Top level".to_owned() } else { format!("`[{}]`", path.join(".")) };
    let _ = write!(out, "\n## {title}\n\n");
    if let Some(text) = schema.get("description").and_then(Value::as_str).filter(|_| !path.is_empty()) {
        let _ = write!(out, "{}\n\n", one_line(text));
    }
    let (sections, leaves): (Vec<_>, Vec<_>) = properties
        .iter()
        .partition(|(name, p)| is_section(root, p) && defaults.get(name.as_str()).is_some_and(Value::is_object));
    if !leaves.is_empty() {
        out.push_str("| setting | variable | default | meaning |\n| --- | --- | --- | --- |\n");
    }
    for (name, property) in leaves {
        let variable = path.iter().chain([&name.as_str()]).map(|p| p.to_uppercase()).collect::<Vec<_>>().join("__");
        let default = match defaults.get(name) {
            None | Some(Value::Null) => "none".to_owned(),
            Some(value) => format!("`{value}`"),
        };
        let meaning = description(root, property);
        let _ = writeln!(out, "| `{name}` | `LEADWAY_{variable}` | {default} | {meaning} |");
    }
    for (name, property) in sections {
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        section(out, root, resolve(root, property), &defaults[name.as_str()], &path);
    }
}

fn is_section(root: &Value, property: &Value) -> bool {
    resolve(root, property).get("properties").is_some()
}

/// Follows `$ref`, also inside `allOf` and `anyOf` (an optional value).
fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    if let Some(pointer) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
        return root.pointer(pointer).unwrap_or(schema);
    }
    let inner = ["allOf", "anyOf"].iter().find_map(|k| schema.get(*k)?.as_array()?.first());
    inner.map_or(schema, |s| resolve(root, s))
}

fn description(root: &Value, property: &Value) -> String {
    let own = property.get("description").or_else(|| resolve(root, property).get("description"));
    let mut text = one_line(own.and_then(Value::as_str).unwrap_or_default());
    let target = property.get("items").unwrap_or(property);
    let allowed = allowed_values(resolve(root, target));
    if !allowed.is_empty() {
        let _ = write!(text, " Allowed: {}.", allowed.join(", "));
    }
    text
}

fn allowed_values(schema: &Value) -> Vec<String> {
    let constants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().filter_map(|v| v.get("const"));
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    constants.chain(listed).filter_map(Value::as_str).map(|s| format!("`{s}`")).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    /// The document in the repository is what the source says. To renew it:
    /// `cargo run -- check-config --reference > config/SETTINGS.md`.
    #[test]
    fn the_document_is_up_to_date() {
        let document = include_str!("../SETTINGS.md");
        assert!(document == super::reference(), "run: cargo run -- check-config --reference > config/SETTINGS.md");
    }
}
