//! JSON as a strict service reads it: a property given twice is an error, and long strings are not copied.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// A JSON value that borrows its strings from the request where they hold no escapes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads a whole document.
    pub(super) fn read(octets: &'a [u8]) -> Result<Json<'a>, String> {
        serde_json::from_slice(octets).map_err(|e| e.to_string())
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Json::Text(t) => Some(t),
            _ => None,
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self {
            Json::Bool(b) => Some(*b),
            _ => None,
        }
    }

    pub(super) fn whole(&self) -> Option<i64> {
        match self {
            #[allow(clippy::cast_possible_truncation)] // in range by the guard
            Json::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => Some(*n as i64),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Json<'a>]> {
        match self {
            Json::List(l) => Some(l),
            _ => None,
        }
    }

    pub(super) fn object(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        match self {
            Json::Object(o) => Some(o),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.object()?.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// As serde_json holds it, for keeping.
    pub(super) fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => {
                self.whole().map_or_else(|| serde_json::Number::from_f64(*n).into(), Value::from)
            }
            Json::Text(t) => Value::String(t.to_string()),
            Json::List(l) => Value::Array(l.iter().map(Json::to_value).collect()),
            Json::Object(o) => Value::Object(o.iter().map(|(n, v)| (n.to_string(), v.to_value())).collect()),
        }
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(v))
    }
    #[allow(clippy::cast_precision_loss)] // no property of a message needs more than 53 bits
    fn visit_i64<E>(self, v: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(v as f64))
    }
    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E>(self, v: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(v as f64))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(v))
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(v)))
    }
    fn visit_str<E>(self, v: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(v.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(v) = seq.next_element()? {
            list.push(v);
        }
        Ok(Json::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut object: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            object.push((name, value));
        }
        let mut names: Vec<&str> = object.iter().map(|(n, _)| n.as_ref()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(A::Error::custom(format!("the property '{}' is given twice", twice[0])));
        }
        Ok(Json::Object(object))
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Reader)
    }
}

/// A property's name: `Cow<str>` alone would always be copied.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match d.deserialize_str(Reader)? {
            Json::Text(t) => Ok(Name(t)),
            _ => Err(D::Error::custom("a name is a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_given_twice_is_refused_at_any_depth() {
        assert!(Json::read(br#"{"a":1,"b":{"c":1}}"#).is_ok());
        assert!(Json::read(br#"{"a":1,"a":2}"#).is_err());
        assert!(Json::read(br#"{"b":[{"c":1,"c":1}]}"#).is_err());
        assert!(Json::read(br#"{"a":1,"\u0061":2}"#).is_err(), "an escape does not hide it");
    }

    #[test]
    fn a_long_string_is_borrowed() {
        let text = br#"{"contentBytes":"AAAA"}"#;
        let json = Json::read(text).unwrap();
        assert!(matches!(json.get("contentBytes"), Some(Json::Text(Cow::Borrowed(_)))));
    }
}
