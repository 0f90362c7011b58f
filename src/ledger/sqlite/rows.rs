//! Sealed rows: every row carries a hash of its own columns, so that a flipped bit in a value is noticed, which
//! SQLite's own checks do not do.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::error::{damaged, sql};
use crate::model::Result;

/// A row of a table. The last column of every table is `seal`.
pub(super) trait Record: Sized {
    /// The table.
    const TABLE: &'static str;
    /// Its columns but `seal`, the primary key's first.
    const COLUMNS: &'static [&'static str];
    /// How many columns the primary key has.
    const KEYS: usize;

    /// The columns' values.
    fn values(&self) -> Vec<Value>;

    /// From the columns' values; `None` if they make no sense.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// The values of a row, taken from left to right.
pub(super) struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    pub(super) fn int(&mut self) -> Option<i64> {
        match self.0.next()? {
            Value::Integer(v) => Some(v),
            _ => None,
        }
    }

    /// A `u64`, kept by its bits.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.int().map(i64::cast_unsigned)
    }

    pub(super) fn small(&mut self) -> Option<u32> {
        self.int().and_then(|v| u32::try_from(v).ok())
    }

    pub(super) fn text(&mut self) -> Option<String> {
        match self.0.next()? {
            Value::Text(v) => Some(v),
            _ => None,
        }
    }

    pub(super) fn blob(&mut self) -> Option<Vec<u8>> {
        match self.0.next()? {
            Value::Blob(v) => Some(v),
            _ => None,
        }
    }

    pub(super) fn text_or_null(&mut self) -> Option<Option<String>> {
        match self.0.next()? {
            Value::Text(v) => Some(Some(v)),
            Value::Null => Some(None),
            _ => None,
        }
    }

    pub(super) fn int_or_null(&mut self) -> Option<Option<i64>> {
        match self.0.next()? {
            Value::Integer(v) => Some(Some(v)),
            Value::Null => Some(None),
            _ => None,
        }
    }
}

/// A `u64` as SQLite keeps it: by its bits.
pub(super) fn number(v: u64) -> Value {
    Value::Integer(v.cast_signed())
}

/// Writes a row: a new one, or over the one with its key.
pub(super) fn put<R: Record>(conn: &Connection, record: &R) -> Result<()> {
    let columns = R::COLUMNS.join(", ");
    let keys = R::COLUMNS[..R::KEYS].join(", ");
    let places = (1..=R::COLUMNS.len() + 1).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    let sets = R::COLUMNS[R::KEYS..].iter().map(|c| format!("{c} = excluded.{c}, ")).collect::<String>();
    let text = format!(
        "INSERT INTO {} ({columns}, seal) VALUES ({places}) ON CONFLICT ({keys}) DO UPDATE SET {sets}seal = excluded.seal",
        R::TABLE
    );
    let mut values = record.values();
    debug_assert_eq!(values.len(), R::COLUMNS.len(), "{}", R::TABLE);
    values.push(Value::Integer(seal(R::TABLE, &values)));
    let mut statement = conn.prepare_cached(&text).map_err(sql)?;
    statement.execute(params_from_iter(values)).map_err(sql)?;
    Ok(())
}

/// The rows that fit `filter`, in the order of their keys.
///
/// # Errors
/// Also if a row's seal does not verify.
pub(super) fn each<R: Record>(
    conn: &Connection,
    filter: &str,
    parameters: &[Value],
    mut then: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let columns = R::COLUMNS.join(", ");
    let keys = R::COLUMNS[..R::KEYS].join(", ");
    let text = format!("SELECT {columns}, seal FROM {} WHERE {filter} ORDER BY {keys}", R::TABLE);
    let mut statement = conn.prepare_cached(&text).map_err(sql)?;
    let mut rows = statement.query(params_from_iter(parameters)).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        then(open::<R>(row)?)?;
    }
    Ok(())
}

/// The rows that fit `filter`, in the order of their keys.
///
/// # Errors
/// As [`each`].
pub(super) fn list<R: Record>(conn: &Connection, filter: &str, parameters: &[Value]) -> Result<Vec<R>> {
    let mut out = Vec::new();
    each(conn, filter, parameters, |record| {
        out.push(record);
        Ok(())
    })?;
    Ok(out)
}

/// The row with this key.
///
/// # Errors
/// As [`each`].
pub(super) fn get<R: Record>(conn: &Connection, keys: &[Value]) -> Result<Option<R>> {
    debug_assert_eq!(keys.len(), R::KEYS);
    list(conn, &key_filter::<R>(), keys).map(|mut rows: Vec<R>| rows.pop())
}

/// Removes the row with this key; `false` if there was none.
pub(super) fn remove<R: Record>(conn: &Connection, keys: &[Value]) -> Result<bool> {
    debug_assert_eq!(keys.len(), R::KEYS);
    Ok(remove_all::<R>(conn, &key_filter::<R>(), keys)? > 0)
}

/// Removes the rows that fit `filter`; how many there were.
pub(super) fn remove_all<R: Record>(conn: &Connection, filter: &str, parameters: &[Value]) -> Result<usize> {
    let text = format!("DELETE FROM {} WHERE {filter}", R::TABLE);
    let mut statement = conn.prepare_cached(&text).map_err(sql)?;
    statement.execute(params_from_iter(parameters)).map_err(sql)
}

fn key_filter<R: Record>() -> String {
    let equal = R::COLUMNS[..R::KEYS].iter().enumerate().map(|(i, c)| format!("{c} = ?{}", i + 1));
    equal.collect::<Vec<_>>().join(" AND ")
}

/// As [`each`], but a row that is damaged is told to `damage` instead of ending the walk; so is a table that cannot be
/// read to its end. Returns how many rows there were, damaged ones included.
///
/// # Errors
/// Those of `damage`, and those that are no damage (a disk that does not answer).
pub(super) fn survey<R: Record>(
    conn: &Connection,
    filter: &str,
    parameters: &[Value],
    damage: &mut dyn FnMut(String) -> Result<()>,
    mut then: impl FnMut(R),
) -> Result<u64> {
    let columns = R::COLUMNS.join(", ");
    let keys = R::COLUMNS[..R::KEYS].join(", ");
    let text = format!("SELECT {columns}, seal FROM {} WHERE {filter} ORDER BY {keys}", R::TABLE);
    let malformed = || format!("table {} cannot be read to its end", R::TABLE);
    let mut statement = match conn.prepare_cached(&text) {
        Ok(statement) => statement,
        Err(e) if is_damage(&e) => return damage(malformed()).map(|()| 0),
        Err(e) => return Err(sql(e)),
    };
    let mut rows = statement.query(params_from_iter(parameters)).map_err(sql)?;
    let mut seen = 0;
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                seen += 1;
                match read_row::<R>(row) {
                    Ok(record) => then(record),
                    Err(what) => damage(what)?,
                }
            }
            Ok(None) => return Ok(seen),
            Err(e) if is_damage(&e) => return damage(malformed()).map(|()| seen),
            Err(e) => return Err(sql(e)),
        }
    }
}

/// Does this error say that the database is damaged?
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SchemaChanged};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | SchemaChanged))
}

fn open<R: Record>(row: &Row<'_>) -> Result<R> {
    read_row(row).map_err(damaged)
}

/// A row whose seal verifies; else what is wrong with it.
fn read_row<R: Record>(row: &Row<'_>) -> std::result::Result<R, String> {
    let n = R::COLUMNS.len();
    let values = (0..=n).map(|i| row.get::<_, Value>(i)).collect::<rusqlite::Result<Vec<_>>>();
    // A value that is not even text or a number of the declared kind is damage too.
    let mut values = values.map_err(|_| format!("a row of {} cannot be read", R::TABLE))?;
    let told = values.pop();
    if told != Some(Value::Integer(seal(R::TABLE, &values))) {
        return Err(format!("a row of {} does not match its seal", R::TABLE));
    }
    R::read(&mut Fields(values.into_iter())).ok_or_else(|| format!("a row of {} makes no sense", R::TABLE))
}

/// The first 64 bits of BLAKE3 over the table's name and the values, each with its type and length.
fn seal(table: &str, values: &[Value]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    let mut part = |tag: u8, bytes: &[u8]| {
        hasher.update(&[tag]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(0, table.as_bytes());
    for value in values {
        match value {
            Value::Null => part(1, &[]),
            Value::Integer(v) => part(2, &v.to_le_bytes()),
            Value::Real(v) => part(3, &v.to_bits().to_le_bytes()),
            Value::Text(v) => part(4, v.as_bytes()),
            Value::Blob(v) => part(5, v),
        }
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    i64::from_le_bytes(first)
}
