//! Extended properties: `{type} {tag}`, `{type} {guid} Name {name}`, `{type} {guid} Id {id}`.
//! Source: Microsoft Graph documentation, `extended-properties-overview`.

use super::date;

/// PS_INTERNET_HEADERS (MS-OXPROPS §1.3.2): header fields that are no properties of their own.
const INTERNET_HEADERS: &str = "00020386-0000-0000-c000-000000000046";

/// The id under which a header field of a message made from MIME is kept.
pub(super) fn of_header(name: &str) -> Option<PropertyId> {
    PropertyId::read(&format!("String {{{INTERNET_HEADERS}}} Name {name}"))
}

/// The type a property's id begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Integer,
    Long,
    Boolean,
    Time,
    Decimal,
    Binary,
    Guid,
}

/// A property's id as the service writes it: GUID and tag in lower case, the tag without leading zeros, the name kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PropertyId {
    pub(super) canonical: String,
    /// Known by a name, not by a tag.
    pub(super) named: bool,
    kind: Type,
}

impl PropertyId {
    /// Reads an id as a client wrote it.
    pub(super) fn read(id: &str) -> Option<PropertyId> {
        let (word, rest) = id.split_once(' ')?;
        let kind = match word {
            "String" => Type::Text,
            "Integer" | "Short" => Type::Integer,
            "Long" | "Currency" => Type::Long,
            "Boolean" => Type::Boolean,
            "SystemTime" => Type::Time,
            "Double" | "Float" | "ApplicationTime" => Type::Decimal,
            "Binary" => Type::Binary,
            "CLSID" => Type::Guid,
            _ => return None,
        };
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let tag = u16::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+'))?;
            return Some(PropertyId { canonical: format!("{word} 0x{tag:x}"), named: false, kind });
        }
        let (guid, rest) = rest.strip_prefix('{')?.split_once("} ")?;
        if !is_guid(guid) {
            return None;
        }
        let guid = guid.to_ascii_lowercase();
        if let Some(name) = rest.strip_prefix("Name ") {
            if name.is_empty() || name.chars().count() > 127 {
                return None;
            }
            // Names of header fields are kept in lower case (MS-OXCPRPT §3.2.5.9).
            let name = if guid == INTERNET_HEADERS { name.to_ascii_lowercase() } else { name.to_owned() };
            return Some(PropertyId {
                canonical: format!("{word} {{{guid}}} Name {name}"),
                named: true,
                kind,
            });
        }
        let number = rest.strip_prefix("Id ")?;
        let number = number.strip_prefix("0x").or_else(|| number.strip_prefix("0X"))?;
        let number = u32::from_str_radix(number, 16).ok().filter(|_| !number.starts_with('+'))?;
        Some(PropertyId { canonical: format!("{word} {{{guid}}} Id 0x{number:x}"), named: true, kind })
    }

    /// The value as the service keeps it; `None` if it is not of the id's type.
    pub(super) fn value(&self, text: &str) -> Option<String> {
        Some(match self.kind {
            Type::Text => text.to_owned(),
            Type::Integer => text.parse::<i32>().ok()?.to_string(),
            Type::Long => text.parse::<i64>().ok()?.to_string(),
            Type::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => "true".to_owned(),
                "false" => "false".to_owned(),
                _ => return None,
            },
            Type::Time => date::write(date::read(text)?),
            Type::Decimal => text.parse::<f64>().ok().filter(|v| v.is_finite())?.to_string(),
            Type::Binary => {
                encodify::base64::STANDARD.decode(text).ok()?;
                text.to_owned()
            }
            Type::Guid => {
                let bare = text.trim_start_matches('{').trim_end_matches('}');
                is_guid(bare).then(|| bare.to_ascii_lowercase())?
            }
        })
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_one_way_but_names_keep_their_case() {
        let canonical = |id: &str| PropertyId::read(id).map(|p| p.canonical);
        assert_eq!(canonical("Integer 0x0E07").as_deref(), Some("Integer 0xe07"));
        assert_eq!(
            canonical("String {66F5A359-4659-4830-9070-00047EC6AC6E} Name Color").as_deref(),
            Some("String {66f5a359-4659-4830-9070-00047ec6ac6e} Name Color")
        );
        assert_eq!(
            canonical("Integer {66f5a359-4659-4830-9070-00047ec6ac6e} Id 0x8102").as_deref(),
            Some("Integer {66f5a359-4659-4830-9070-00047ec6ac6e} Id 0x8102")
        );
        for bad in ["", "String", "Text 0x37", "String 66f5a359 Name x", "Integer 3591", "String 0xFFFFF"] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_must_be_of_the_type_the_id_says() {
        let id = PropertyId::read("SystemTime 0x0E06").unwrap();
        assert_eq!(id.value("2020-01-02T03:04:05.678Z").as_deref(), Some("2020-01-02T03:04:05Z"));
        assert_eq!(id.value("yesterday"), None);
        assert_eq!(PropertyId::read("Integer 0x0E07").unwrap().value("one"), None);
    }
}
