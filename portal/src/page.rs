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
/// About how many bytes of JSON a page may have: it ends with the row that reaches them.
const MAX_BYTES: usize = 2 << 20;

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

/// What a page has room for yet.
pub(crate) struct Room {
    rows: usize,
    bytes: usize,
}

impl Room {
    /// Takes a row; whether the page is full with it.
    pub(crate) fn is_full_with(&mut self, row: &impl Serialize) -> bool {
        let mut size = Size(0);
        // Counting cannot fail, and our own rows have no maps with keys that JSON cannot carry.
        let _ = serde_json::to_writer(&mut size, row);
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size.0);
        self.rows == 0 || self.bytes == 0
    }
}

/// Bytes that are counted and not kept.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl PageRequest {
    /// The room of an empty page.
    pub(crate) fn room(&self) -> Room {
        Room { rows: self.limit, bytes: MAX_BYTES }
    }

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
    /// The rows. There may be fewer than asked for, even none, before the end: a page looks at a bounded number of rows, and
    /// ends at about 2 MB.
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
        T: Serialize,
    {
        let after = request.position::<K>()?;
        let mut rows = rows.skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after)).peekable();
        let mut items = Vec::new();
        let (mut last, mut room, mut is_full) = (None, request.room(), false);
        while !is_full && let Some((key, value)) = rows.next() {
            let item = show(value);
            is_full = room.is_full_with(&item);
            items.push(item);
            last = Some(key);
        }
        Ok(Self::new(items, last.filter(|_| rows.peek().is_some())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_it_has_rows_or_bytes_enough() {
        let page = |limit, row: usize| {
            let rows: Vec<String> = (0..100).map(|_| "x".repeat(row)).collect();
            let request = PageRequest { limit, cursor: None };
            Page::of_sorted(rows.iter().enumerate(), &request, String::clone).unwrap()
        };
        assert_eq!((page(7, 10).items.len(), page(7, 10).next_cursor.is_some()), (7, true));
        assert_eq!((page(500, 10).items.len(), page(500, 10).next_cursor.is_some()), (100, false));
        let large = page(500, 64 << 10);
        assert_eq!((large.items.len(), large.next_cursor.is_some()), (32, true), "two megabytes");
        assert_eq!(page(500, 3 << 20).items.len(), 1, "never none");
    }
}
