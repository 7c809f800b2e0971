//! What the API's description says about every operation alike: how it fails, and what the bodies of PUT and PATCH are.

use std::collections::BTreeMap;

use http::Method;
use leadway_domain::problem::PROBLEM_JSON;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::schema::{AllOf, Object, Schema, SchemaType, Type};
use utoipa::openapi::{Components, Content, OpenApi as Document, Ref, RefOr, Response};

use crate::{lists_csv, reads};

/// Where schemas stand in the document.
const SCHEMAS: &str = "#/components/schemas/";
const JSON: &str = "application/json";
const MERGE_PATCH_JSON: &str = "application/merge-patch+json";

/// Completes the document.
pub(crate) fn complete(document: &mut Document) {
    let components = document.components.get_or_insert_default();
    join_parts(components);
    for (path, item) in &mut document.paths.paths {
        describe_changes(item, components);
        for (method, operation) in operations(item) {
            add_errors(operation, path, method != Method::GET);
            if method == Method::GET && lists_csv::serves(path) {
                offer_csv(operation);
            }
            complete_parameters(operation);
            complete_responses(operation);
        }
    }
}

/// An input that is put together of parts becomes one object: that is how it is sent, and what PUT and PATCH are made of.
fn join_parts(components: &mut Components) {
    let joined: Vec<(String, Object)> = components
        .schemas
        .iter()
        .filter(|(name, _)| name.ends_with("Input"))
        .filter_map(|(name, schema)| match own(schema)? {
            Schema::AllOf(parts) => Some((name.clone(), joined(parts, components)?)),
            _ => None,
        })
        .collect();
    for (name, object) in joined {
        components.schemas.insert(name, Schema::Object(object).into());
    }
}

fn joined(parts: &AllOf, components: &Components) -> Option<Object> {
    let mut whole = Object::with_type(Type::Object);
    (whole.description, whole.example) = (parts.description.clone(), parts.example.clone());
    for part in &parts.items {
        let part = match part {
            RefOr::T(schema) => schema,
            RefOr::Ref(part) => own(components.schemas.get(part.ref_location.strip_prefix(SCHEMAS)?)?)?,
        };
        let Schema::Object(part) = part else { return None };
        whole.properties.extend(part.properties.clone());
        whole.required.extend(part.required.iter().cloned());
        whole.example = whole.example.take().or_else(|| part.example.clone());
    }
    Some(whole)
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The list can be had as CSV too.
fn offer_csv(operation: &mut Operation) {
    let about = "`csv` for all rows as CSV, whatever `limit` says; text that a spreadsheet would run stands behind an apostrophe.";
    let choices =
        Object::builder().schema_type(Type::String).enum_values(Some(["json", "csv"])).default(Some("json".into()));
    let format = Parameter::builder()
        .name("format")
        .parameter_in(ParameterIn::Query)
        .description(Some(about))
        .schema(Some(choices));
    operation.parameters.get_or_insert_default().push(format.build().into());
    if let Some(answer) = operation.responses.responses.get_mut("200").and_then(own_mut) {
        let text = Object::builder().schema_type(Type::String).build();
        answer.content.insert("text/csv".to_owned(), Content::new(Some(text)).into());
    }
}

/// Adds the errors that the operation can answer with beyond those it names itself.
fn add_errors(operation: &mut Operation, path: &str, writes: bool) {
    let has_id = path.contains('{');
    let is_heavy = reads::is_heavy(path);
    let has_body = operation.request_body.is_some();
    let has_query = parameters(Some(operation)).any(|parameter| parameter.parameter_in == ParameterIn::Query);
    let wanted = [
        (has_body, "400", "The body cannot be read"),
        (true, "401", "No valid key"),
        (writes, "403", "A reader's key, which may only read"),
        (has_id, "404", "Nothing is there"),
        (has_body, "413", "The body is too large"),
        (has_body, "415", "The body is of another media type"),
        (has_body || has_query, "422", "Fields or parameters are not valid; all of them are listed"),
        (
            !writes && is_heavy,
            "429",
            "This key has 2 lists, reports or exports under way; `Retry-After` says when to come back",
        ),
        (!writes && !is_heavy, "429", "This key has 16 reads under way; `Retry-After` says when to come back"),
        (true, "500", "Something is wrong on this side; the node's log says what"),
        (true, "503", "The log or the tables do not serve now; `Retry-After` says when to come back"),
    ];
    for (_, status, description) in wanted.into_iter().filter(|(applies, ..)| *applies) {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| Response::new(description).into());
    }
}

/// A parameter is not sent empty; and a schema that is made by hand brings its parameter's description.
fn complete_parameters(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten().filter_map(own_mut) {
        let Some(Schema::Object(schema)) = parameter.schema.as_mut().and_then(own_mut) else { continue };
        if schema.schema_type == SchemaType::Type(Type::String) && schema.enum_values.is_none() {
            schema.min_length = Some(1);
        }
        parameter.description = parameter.description.take().or_else(|| schema.description.take());
    }
}

/// Every answer needs a description, and every error is a problem document.
fn complete_responses(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let Some(response) = own_mut(response) else { continue };
        if response.description.is_empty() {
            response.description = match status.as_str() {
                "201" => "Made",
                "204" => "Gone",
                _ => "What was asked for",
            }
            .to_owned();
        }
        if status.starts_with(['4', '5']) && response.content.is_empty() {
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            response.content.insert(PROBLEM_JSON.to_owned(), content.into());
        }
    }
}

/// PUT takes what POST takes, but the path tells the id already. PATCH takes any of it (RFC 7396). Both are made from what
/// the PUT names, so that the three cannot differ.
fn describe_changes(item: &mut PathItem, components: &mut Components) {
    let Some((name, input)) = item.put.as_mut().and_then(bodies).and_then(|bodies| input_schema(bodies, components))
    else {
        return;
    };
    let mut replacement = input.clone();
    for id in parameters(item.put.as_ref()).filter(|parameter| parameter.parameter_in == ParameterIn::Path) {
        replacement.required.retain(|field| *field != id.name);
    }
    let mut changes = input;
    changes.required.clear();
    changes.example = None;
    for (operation, schema, suffix) in
        [(&mut item.put, replacement, "Replacement"), (&mut item.patch, changes, "Changes")]
    {
        let Some(bodies) = operation.as_mut().and_then(bodies) else { continue };
        let schema_name = format!("{name}{suffix}");
        for body in bodies.values_mut().filter_map(own_mut) {
            body.schema = Some(Ref::from_schema_name(&schema_name).into());
        }
        components.schemas.insert(schema_name, Schema::Object(schema).into());
    }
    if let Some(bodies) = item.patch.as_mut().and_then(bodies)
        && let Some(json) = bodies.get(JSON).cloned()
    {
        bodies.insert(MERGE_PATCH_JSON.to_owned(), json);
    }
}

/// The object that a body is, with its name less what says that it is sent.
fn input_schema(bodies: &Bodies, components: &Components) -> Option<(String, Object)> {
    let Some(RefOr::Ref(reference)) = &own(bodies.get(JSON)?)?.schema else { return None };
    let name = reference.ref_location.strip_prefix(SCHEMAS)?;
    let Schema::Object(object) = own(components.schemas.get(name)?)? else { return None };
    Some((name.trim_end_matches("Input").to_owned(), object.clone()))
}

/// The bodies that an operation takes, by media type.
type Bodies = BTreeMap<String, RefOr<Content>>;

fn bodies(operation: &mut Operation) -> Option<&mut Bodies> {
    operation.request_body.as_mut().and_then(own_mut).map(|body| &mut body.content)
}

fn parameters(operation: Option<&Operation>) -> impl Iterator<Item = &Parameter> {
    operation.and_then(|operation| operation.parameters.as_ref()).into_iter().flatten().filter_map(own)
}

/// What stands here itself, and not elsewhere with a reference to it.
fn own<T>(here: &RefOr<T>) -> Option<&T> {
    match here {
        RefOr::T(value) => Some(value),
        RefOr::Ref(_) => None,
    }
}

fn own_mut<T>(here: &mut RefOr<T>) -> Option<&mut T> {
    match here {
        RefOr::T(value) => Some(value),
        RefOr::Ref(_) => None,
    }
}
