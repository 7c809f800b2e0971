//! YAML, read as the programs that use it read it.

use anyhow::{Context, ensure};
use serde_json::Value;

/// The documents of a file, or of what a chart renders to. Fails on what is no YAML and on a key that is given twice, and
/// says where.
pub fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("this is no YAML")?;
    ensure!(!documents.is_empty(), "there is nothing in it");
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_yaml_is_refused() {
        for wrong in ["a: [1", "a: 1\na: 2", "a: 1\n b: 2", "a: *nowhere", "a: {b: 1}}", ""] {
            assert!(documents(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn anchors_are_followed_and_documents_told_apart() {
        let read = documents("x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}\n---\nz: 3\n").unwrap();
        let [first, second] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!(first["y"], serde_json::json!({"a": 1, "b": 2}));
        assert_eq!(second["z"], 3);
    }

    #[test]
    fn a_template_that_renders_to_nothing_does_not_hide_the_next_one() {
        let read = documents("---\n# Source: ingress.yaml\n---\n# Source: config.yaml\nkind: ConfigMap\n").unwrap();
        assert!(read.iter().any(|document| document["kind"] == "ConfigMap"), "{read:?}");
    }
}
