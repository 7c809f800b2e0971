//! Sorting what was sent into our fields and the rest.

use std::borrow::Cow;

use serde_json::{Map, Value};
use simd_json::BorrowedValue;

use super::aliases::{Field, Fit};
use super::pointer::{Pointers, Sent};
use super::readable_json;
use crate::settings::{FieldMapping, fold_short};
use crate::text::without_entities;

/// One text that was sent for a field.
struct Candidate<'v> {
    text: Cow<'v, str>,
    fit: Fit,
    /// Under which name, and as what; nothing for what a pointer found, which is kept with what surrounds it, and for a
    /// constant.
    source: Option<(&'v str, &'v BorrowedValue<'v>)>,
}

impl Candidate<'_> {
    /// Large objects have no order of their own: what fits alike is told apart by name, so that the same post is the same
    /// lead. The provider's mapping has an order.
    fn beats(&self, other: &Self) -> bool {
        self.fit < other.fit || (self.fit == other.fit && self.fit != Fit::Mapped && self.name() < other.name())
    }

    fn name(&self) -> Option<&str> {
        self.source.map(|(name, _)| name)
    }
}

/// The texts of our fields, and everything that no field took.
pub(super) struct Fields<'v> {
    /// The best candidate of each field.
    best: [Option<Candidate<'v>>; Field::ALL.len()],
    /// The others.
    others: Vec<(Field, Candidate<'v>)>,
    /// Fields for which a list or an object was sent.
    shapes: Vec<Field>,
    extra: Map<String, Value>,
}

impl<'v> Fields<'v> {
    /// Applies the provider's mapping, then the names that need none, then the constants. Of several values for one field
    /// the one whose name [fits](Fit) best is taken; what it displaces is kept with the rest.
    pub(super) fn map(
        mapping: &'v FieldMapping,
        object: &'v simd_json::borrowed::Object<'v>,
        raw: &'v BorrowedValue<'v>,
    ) -> Self {
        let mut fields = Self { best: Default::default(), others: Vec::new(), shapes: Vec::new(), extra: Map::new() };
        fields.apply(mapping, object, raw);
        for (name, value) in object.iter() {
            if mapping.fields.contains_key(&**name) {
                continue;
            }
            match Field::by_alias(name) {
                Some((field, fit)) => fields.offer(field, fit, Sent::of(value), Some((name, value))),
                None => fields.keep(name, value),
            }
        }
        for (target, value) in &mapping.constants {
            if let Some(field) = Field::by_name(target) {
                let constant = Sent::Text(Cow::Borrowed(value.as_str()));
                fields.offer(field, Fit::Constant, constant, None);
            }
        }
        fields.translate(mapping);
        fields
    }

    fn apply(
        &mut self,
        mapping: &'v FieldMapping,
        object: &'v simd_json::borrowed::Object<'v>,
        raw: &'v BorrowedValue<'v>,
    ) {
        let mut pointers = Pointers::new(raw);
        for (source, target) in &mapping.fields {
            let Some(field) = Field::by_name(target) else { continue };
            if source.starts_with('/') {
                self.offer(field, Fit::Mapped, pointers.find(source), None);
            } else if let Some(value) = object.get(source.as_str()) {
                self.offer(field, Fit::Mapped, Sent::of(value), Some((source, value)));
            }
        }
    }

    /// Replaces values as sent by values as meant.
    fn translate(&mut self, mapping: &FieldMapping) {
        for (target, synonyms) in &mapping.values {
            let Some(field) = Field::by_name(target) else { continue };
            let others = self.others.iter_mut().filter(|(other, _)| *other == field).map(|(_, candidate)| candidate);
            for candidate in self.best.get_mut(field as usize).into_iter().flatten().chain(others) {
                let (mut room, mut other) = Default::default();
                let folded = fold_short(&candidate.text, &mut room);
                if let Some((_, meant)) = synonyms.iter().find(|(sent, _)| fold_short(sent, &mut other) == folded) {
                    candidate.text = Cow::Owned(meant.clone());
                }
            }
        }
    }

    /// The text of a field, never empty.
    pub(super) fn get(&self, field: Field) -> Option<&str> {
        Some(&*self.best.get(field as usize)?.as_ref()?.text)
    }

    /// Whether a list or an object was sent for a field that has no text.
    pub(super) fn is_shape(&self, field: Field) -> bool {
        self.get(field).is_none() && self.shapes.contains(&field)
    }

    /// Gives up the text of a field, which is kept with the rest; the next best takes its place.
    pub(super) fn give_up(&mut self, field: Field) {
        self.keep_too(field);
        let mut next: Option<usize> = None;
        for (place, (other, candidate)) in self.others.iter().enumerate() {
            let best = next.and_then(|n| self.others.get(n)).map(|(_, best)| best);
            if *other == field && best.is_none_or(|best| candidate.beats(best)) {
                next = Some(place);
            }
        }
        let next = next.map(|place| self.others.swap_remove(place).1);
        if let Some(slot) = self.best.get_mut(field as usize) {
            *slot = next;
        }
    }

    /// Keeps with the rest, as it was sent, what a field took: where the field holds less than that.
    pub(super) fn keep_too(&mut self, field: Field) {
        let taken = self.best.get(field as usize).and_then(Option::as_ref);
        if let Some((name, value)) = taken.and_then(|candidate| candidate.source) {
            self.keep(name, value);
        }
    }

    /// What no field took.
    pub(super) fn into_extra(mut self) -> Map<String, Value> {
        for (field, candidate) in std::mem::take(&mut self.others) {
            if self.get(field) != Some(&*candidate.text)
                && let Some((name, value)) = candidate.source
            {
                self.keep(name, value);
            }
        }
        self.extra
    }

    /// What no field took so far.
    pub(super) fn extra(&self) -> &Map<String, Value> {
        &self.extra
    }

    fn keep(&mut self, name: &str, value: &BorrowedValue<'_>) {
        let is_empty = match value {
            BorrowedValue::Static(simd_json::StaticNode::Null) => true,
            BorrowedValue::String(text) => text.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.extra.insert(crate::text::readable(name).into_owned(), readable_json(value));
        }
    }

    fn offer(&mut self, field: Field, fit: Fit, sent: Sent<'v>, source: Option<(&'v str, &'v BorrowedValue<'v>)>) {
        let text = match sent {
            Sent::Text(text) => text,
            Sent::Nothing => return,
            Sent::Shape => {
                self.shapes.push(field);
                return source.into_iter().for_each(|(name, value)| self.keep(name, value));
            }
        };
        if is_blank(field, &text) {
            return;
        }
        if fit == Fit::Mode && !super::words::is_test(&text) {
            return source.into_iter().for_each(|(name, value)| self.keep(name, value));
        }
        let text = match field {
            // An id is what it is.
            Field::ExternalId => text,
            _ => decoded(text),
        };
        let candidate = Candidate { text, fit, source };
        match self.best.get_mut(field as usize) {
            Some(slot @ None) => *slot = Some(candidate),
            // Nothing was missing.
            Some(Some(_)) if fit == Fit::Constant => {}
            Some(Some(best)) => {
                let lost = if candidate.beats(best) { std::mem::replace(best, candidate) } else { candidate };
                self.others.push((field, lost));
            }
            None => {}
        }
    }
}

/// Whether the text is what an input mask or a dash leaves where nothing was entered: `(___) ___-____`, `--`.
fn is_blank(field: Field, text: &str) -> bool {
    match field {
        Field::Notes => false,
        // Not everybody's name is made of letters.
        Field::FirstName | Field::LastName | Field::CustomerName => {
            text.bytes().all(|b| b.is_ascii_punctuation() || b == b' ')
        }
        _ => !text.contains(char::is_alphanumeric),
    }
}

fn decoded(text: Cow<'_, str>) -> Cow<'_, str> {
    match without_entities(&text) {
        Cow::Owned(decoded) => Cow::Owned(decoded),
        Cow::Borrowed(_) => text,
    }
}
