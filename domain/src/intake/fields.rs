//! Sorting what was sent into our fields and the rest.

use std::borrow::Cow;

use serde_json::{Map, Value};
use simd_json::{BorrowedValue, StaticNode};

use super::aliases::Field;
use super::to_owned_json;
use crate::problem::FieldError;
use crate::settings::{FieldMapping, fold_short};

/// The texts of our fields, and everything that no field took.
pub(super) struct Fields<'v> {
    texts: [Option<Cow<'v, str>>; Field::ALL.len()],
    extra: Map<String, Value>,
    pub(super) errors: Vec<FieldError>,
}

impl<'v> Fields<'v> {
    /// Applies the provider's mapping first, then the aliases, then the constants. The first value that is not empty
    /// wins; what it displaces is kept with the rest.
    pub(super) fn map(
        mapping: &FieldMapping,
        object: &'v simd_json::borrowed::Object<'v>,
        raw: &'v BorrowedValue<'v>,
    ) -> Self {
        let mut fields = Self { texts: Default::default(), extra: Map::new(), errors: Vec::new() };
        for (source, target) in &mapping.fields {
            let value = if source.starts_with('/') { pointer(raw, source) } else { object.get(source.as_str()) };
            if let (Some(value), Some(field)) = (value, Field::by_name(target)) {
                fields.offer(field, value);
            }
        }
        // A small object keeps the order in which it was written. A large one is a hash map with an order of its own,
        // other each time: it is read by name, so that the same post is the same lead.
        if object.is_map() {
            let mut pairs: Vec<_> = object.iter().collect();
            pairs.sort_unstable_by_key(|(name, _)| *name);
            pairs.into_iter().for_each(|(name, value)| fields.take(mapping, name, value));
        } else {
            object.iter().for_each(|(name, value)| fields.take(mapping, name, value));
        }
        for (target, value) in &mapping.constants {
            if let Some(slot) = Field::by_name(target).and_then(|f| fields.texts.get_mut(f as usize)) {
                slot.get_or_insert_with(|| Cow::Owned(value.clone()));
            }
        }
        for (target, synonyms) in &mapping.values {
            let slot = Field::by_name(target).and_then(|f| fields.texts.get_mut(f as usize));
            if let Some(Some(text)) = slot {
                let (mut room, mut other) = Default::default();
                let folded = fold_short(text, &mut room);
                if let Some((_, meant)) = synonyms.iter().find(|(sent, _)| fold_short(sent, &mut other) == folded) {
                    *text = Cow::Owned(meant.clone());
                }
            }
        }
        fields
    }

    /// The text of a field, never empty.
    pub(super) fn get(&self, field: Field) -> Option<&str> {
        self.texts.get(field as usize)?.as_deref()
    }

    /// What no field took.
    pub(super) fn into_extra(self) -> Map<String, Value> {
        self.extra
    }

    /// Gives the value to the field that is commonly called so; what no field takes is kept with the rest.
    fn take(&mut self, mapping: &FieldMapping, name: &str, value: &'v BorrowedValue<'v>) {
        if mapping.fields.contains_key(name) {
            return;
        }
        let taken = Field::by_alias(name).is_some_and(|field| self.offer(field, value));
        if !taken && !is_empty(value) {
            self.extra.insert(name.to_owned(), to_owned_json(value));
        }
    }

    /// Gives `field` the value if it has none yet; tells whether the value needs no other home.
    fn offer(&mut self, field: Field, value: &'v BorrowedValue<'v>) -> bool {
        let text = match value {
            BorrowedValue::String(s) => Cow::Borrowed(s.trim()),
            BorrowedValue::Static(StaticNode::Null) => return true,
            BorrowedValue::Static(node) => Cow::Owned(node.to_string()),
            BorrowedValue::Array(_) | BorrowedValue::Object(_) => {
                self.errors.push(FieldError::new(
                    field.name(),
                    "invalid",
                    "must be text or a number, not a list or an object",
                ));
                return true;
            }
        };
        if text.is_empty() {
            return true;
        }
        match self.texts.get_mut(field as usize) {
            Some(slot @ None) => {
                *slot = Some(text);
                true
            }
            Some(Some(present)) => *present == text,
            None => false,
        }
    }
}

fn is_empty(value: &BorrowedValue<'_>) -> bool {
    match value {
        BorrowedValue::Static(StaticNode::Null) => true,
        BorrowedValue::String(s) => s.is_empty(),
        _ => false,
    }
}

/// RFC 6901.
fn pointer<'v>(root: &'v BorrowedValue<'v>, path: &str) -> Option<&'v BorrowedValue<'v>> {
    path.split('/').skip(1).try_fold(root, |value, token| {
        let token = token.replace("~1", "/").replace("~0", "~");
        match value {
            BorrowedValue::Object(object) => object.get(token.as_str()),
            BorrowedValue::Array(items) => items.get(token.parse::<usize>().ok()?),
            _ => None,
        }
    })
}
