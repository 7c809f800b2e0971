//! Pages and the cursors between them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leadway_domain::problem::{FieldError, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use crate::query::{FromQuery, Query};

/// Rows on a page when the caller does not say.
const DEFAULT_LIMIT: usize = 100;
/// Most rows on a page.
const MAX_LIMIT: usize = 500;

/// Which page is asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageRequest {
    /// Most rows to answer with.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 100)]
    pub(crate) limit: usize,
    /// The `next_cursor` of the page before; without it, the first page.
    pub(crate) cursor: Option<String>,
}

impl FromQuery for PageRequest {
    fn read(query: &mut Query) -> Self {
        let limit = query.with("limit", |text| match text.parse() {
            Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            _ => Err(format!("must be 1 to {MAX_LIMIT}")),
        });
        Self { limit: limit.unwrap_or(DEFAULT_LIMIT), cursor: query.text("cursor") }
    }
}

impl PageRequest {
    /// How many rows that may be wanted are read together.
    pub(crate) fn at_once(&self) -> usize {
        self.limit.max(50)
    }

    /// Where to go on, if this is not the first page.
    pub(crate) fn position<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let position = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        position.map(Some).ok_or_else(|| {
            let message = "must be the next_cursor of a page of the same list";
            Problem::validation(vec![FieldError::new("cursor", "invalid", message)])
        })
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The rows. There may be fewer than asked for, even none, before the end: a page looks at a bounded number of rows.
    pub(crate) items: Vec<T>,
    /// Send it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page after which `next` follows.
    pub(crate) fn new(items: Vec<T>, next: Option<impl Serialize>) -> Self {
        // Positions are our own small structs: encoding them cannot fail.
        let next_cursor = next.map(|next| URL_SAFE_NO_PAD.encode(serde_json::to_vec(&next).unwrap_or_default()));
        Self { items, next_cursor }
    }

    /// A page of rows that are all in memory, in the order of unique keys; the cursor is the last key shown.
    pub(crate) fn of_sorted<'a, K, V: 'a>(
        rows: impl Iterator<Item = (K, &'a V)>,
        request: &PageRequest,
        show: impl Fn(&V) -> T,
    ) -> Result<Self, Problem>
    where
        K: Serialize + DeserializeOwned + Ord,
    {
        let after = request.position::<K>()?;
        let mut rows = rows.skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after)).peekable();
        let mut items = Vec::new();
        let mut last = None;
        while items.len() < request.limit
            && let Some((key, value)) = rows.next()
        {
            items.push(show(value));
            last = Some(key);
        }
        Ok(Self::new(items, last.filter(|_| rows.peek().is_some())))
    }
}
