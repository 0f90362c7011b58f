//! Extended properties: known by a tag, or by a set with a name or a number; always with a type.
//! Source: Exchange documentation, `extendedfielduri`, `mapipropertytype`.

use super::date;
use super::schema::Violation;
use super::xml::{Element, escaped};

/// What values a property has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Short,
    Integer,
    Long,
    Boolean,
    Time,
    Decimal,
    Binary,
    Guid,
}

/// A property's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PropertyId {
    /// As it is kept: GUID and tag in lower case, the tag without leading zeros, the name as given.
    pub(super) canonical: String,
    pub(super) kind: Kind,
    pub(super) array: bool,
    /// The element as it is told again.
    pub(super) echo: String,
}

const SETS: &[(&str, &str)] = &[
    ("Meeting", "6ed8da90-450b-101b-98da-00aa003f1305"),
    ("Appointment", "00062002-0000-0000-c000-000000000046"),
    ("Common", "00062008-0000-0000-c000-000000000046"),
    ("PublicStrings", "00020329-0000-0000-c000-000000000046"),
    ("Address", "00062004-0000-0000-c000-000000000046"),
    ("InternetHeaders", "00020386-0000-0000-c000-000000000046"),
    ("CalendarAssistant", "11000e07-b51b-40d6-af21-caa85edab1d0"),
    ("UnifiedMessaging", "4442858e-a9e3-4e80-b900-317a210cc15b"),
    ("Task", "00062003-0000-0000-c000-000000000046"),
    ("Sharing", "00062040-0000-0000-c000-000000000046"),
];

const INVALID: &str = "ErrorInvalidExtendedProperty";

/// Reads an `ExtendedFieldURI`: a violation of the schema, or an error code of the service.
pub(super) fn read(element: &Element<'_>) -> Result<Result<PropertyId, &'static str>, Violation> {
    let mut echo = String::from("<t:ExtendedFieldURI");
    for (name, value) in &element.attributes {
        match *name {
            "DistinguishedPropertySetId"
            | "PropertySetId"
            | "PropertyTag"
            | "PropertyName"
            | "PropertyId"
            | "PropertyType" => {}
            _ => return Err(Violation::of(element, format!("the attribute {name} is not allowed"))),
        }
        // Tags are told in hexadecimal without leading zeros, however they were given.
        if *name == "PropertyTag"
            && let Some(tag) = tag(value)
        {
            echo.push_str(&format!(" {name}=\"0x{tag:x}\""));
        } else {
            echo.push_str(&format!(" {name}=\"{}\"", escaped(value)));
        }
    }
    echo.push_str("/>");
    let Some(word) = element.attribute("PropertyType") else {
        return Err(Violation::of(element, "PropertyType is required"));
    };
    let (word, array) = match word.strip_suffix("Array") {
        Some(word) => (word, true),
        None => (word, false),
    };
    let kind = match word {
        "String" => Kind::Text,
        "Short" => Kind::Short,
        "Integer" => Kind::Integer,
        "Long" | "Currency" => Kind::Long,
        "Boolean" => Kind::Boolean,
        "SystemTime" => Kind::Time,
        "Double" | "Float" | "ApplicationTime" => Kind::Decimal,
        "Binary" => Kind::Binary,
        "CLSID" => Kind::Guid,
        "Object" | "Null" | "Error" => return Ok(Err(INVALID)),
        _ => return Err(Violation::of(element, "PropertyType is not one of the enumeration")),
    };
    Ok(identity(element).map(|rest| PropertyId {
        canonical: format!("{word}{} {rest}", if array { "Array" } else { "" }),
        kind,
        array,
        echo,
    }))
}

fn tag(text: &str) -> Option<u16> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u16::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')),
        None => text.parse().ok().filter(|_| !text.starts_with('+')),
    }
}

/// What the property is known by. The combinations that make no sense are an error of the service.
fn identity(element: &Element<'_>) -> Result<String, &'static str> {
    let attribute = |name| element.attribute(name);
    let set = match (attribute("DistinguishedPropertySetId"), attribute("PropertySetId")) {
        (Some(_), Some(_)) => return Err(INVALID),
        (Some(name), None) => {
            Some(SETS.iter().find(|(n, _)| *n == name).map(|(_, guid)| (*guid).to_owned()).ok_or(INVALID)?)
        }
        (None, Some(guid)) => Some(guid_of(guid).ok_or(INVALID)?),
        (None, None) => None,
    };
    match (attribute("PropertyTag"), set, attribute("PropertyName"), attribute("PropertyId")) {
        (Some(text), None, None, None) => {
            // Tags from 0x8000 on are given out per mailbox: such properties are known by set and name only.
            let tag = tag(text).filter(|t| *t < 0x8000).ok_or(INVALID)?;
            Ok(format!("0x{tag:x}"))
        }
        (None, Some(guid), Some(name), None) if !name.is_empty() && name.chars().count() <= 127 => {
            Ok(format!("{{{guid}}} Name {name}"))
        }
        (None, Some(guid), None, Some(number)) => {
            let number: i64 = number.parse().map_err(|_| INVALID)?;
            Ok(format!("{{{guid}}} Id 0x{number:x}"))
        }
        _ => Err(INVALID),
    }
}

fn guid_of(text: &str) -> Option<String> {
    let bare = text.trim_start_matches('{').trim_end_matches('}');
    let good = bare.len() == 36
        && bare.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    good.then(|| bare.to_ascii_lowercase())
}

impl PropertyId {
    /// The value as the service keeps it; `None` if it is not of the property's type.
    pub(super) fn value(&self, text: &str) -> Option<String> {
        Some(match self.kind {
            Kind::Text => text.to_owned(),
            Kind::Short => text.trim().parse::<i16>().ok()?.to_string(),
            Kind::Integer => text.trim().parse::<i32>().ok()?.to_string(),
            Kind::Long => text.trim().parse::<i64>().ok()?.to_string(),
            Kind::Boolean => match text.trim() {
                "true" | "1" => "true".to_owned(),
                "false" | "0" => "false".to_owned(),
                _ => return None,
            },
            Kind::Time => date::write(date::read(text.trim())?),
            Kind::Decimal => text.trim().parse::<f64>().ok().filter(|v| v.is_finite())?.to_string(),
            Kind::Binary => {
                encodify::base64::STANDARD.decode(text.trim()).ok()?;
                text.trim().to_owned()
            }
            Kind::Guid => guid_of(text.trim())?,
        })
    }
}

/// Reads an `ExtendedProperty`: its identity and its values.
pub(super) type Given = (PropertyId, Vec<String>);

/// Reads an `ExtendedProperty` with its value or values.
pub(super) fn read_given(element: &Element<'_>) -> Result<Result<Given, &'static str>, Violation> {
    let mut children = element.children.iter();
    let (Some(path), Some(value), None) = (children.next(), children.next(), children.next()) else {
        return Err(Violation::of(element, "ExtendedFieldURI and a value are required"));
    };
    if path.name != "ExtendedFieldURI" {
        return Err(Violation::of(path, "ExtendedFieldURI is due"));
    }
    let id = match read(path)? {
        Ok(id) => id,
        Err(code) => return Ok(Err(code)),
    };
    let texts: Vec<&str> = match (value.name, id.array) {
        ("Value", false) => vec![value.text.as_ref()],
        ("Values", true) => value.children.iter().map(|v| v.text.as_ref()).collect(),
        ("Value" | "Values", _) => return Ok(Err("ErrorInvalidExtendedPropertyValue")),
        _ => return Err(Violation::of(value, "Value or Values is due")),
    };
    let values: Option<Vec<String>> = texts.into_iter().map(|t| id.value(t)).collect();
    Ok(match values {
        Some(values) => Ok((id, values)),
        None => Err("ErrorInvalidExtendedPropertyValue"),
    })
}

/// An `ExtendedProperty` as it is told.
pub(super) fn write(id: &PropertyId, values: &[String]) -> String {
    let mut out = format!("<t:ExtendedProperty>{}", id.echo);
    if id.array {
        out.push_str("<t:Values>");
        for value in values {
            out.push_str(&format!("<t:Value>{}</t:Value>", escaped(value)));
        }
        out.push_str("</t:Values>");
    } else {
        let value = values.first().map_or("", String::as_str);
        out.push_str(&format!("<t:Value>{}</t:Value>", escaped(value)));
    }
    out.push_str("</t:ExtendedProperty>");
    out
}

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;

    fn canonical(attributes: &str) -> Result<String, &'static str> {
        let text = format!("<a {attributes}/>");
        read(&xml::read(&text).unwrap()).unwrap().map(|p| p.canonical)
    }

    #[test]
    fn a_property_is_written_in_one_way() {
        let both = ["0x0E07", "3591", "0xe07"];
        for tag in both {
            assert_eq!(
                canonical(&format!("PropertyTag='{tag}' PropertyType='Integer'")).unwrap(),
                "Integer 0xe07"
            );
        }
        let guid = "66F5A359-4659-4830-9070-00047EC6AC6E";
        assert_eq!(
            canonical(&format!("PropertySetId='{guid}' PropertyName='Color' PropertyType='String'")).unwrap(),
            "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name Color"
        );
        assert_eq!(
            canonical("DistinguishedPropertySetId='Common' PropertyId='34054' PropertyType='Boolean'")
                .unwrap(),
            "Boolean {00062008-0000-0000-c000-000000000046} Id 0x8506"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "PropertyTag='0x8506' PropertyType='Boolean'",
            "PropertyType='String'",
            "PropertyName='x' PropertyType='String'",
            "PropertySetId='1' PropertyName='x' PropertyType='String'",
            "PropertyTag='0x37' PropertyName='x' PropertyType='String'",
        ] {
            assert_eq!(canonical(bad), Err(INVALID), "{bad}");
        }
        let text = "<a PropertyTag='0x37' PropertyType='Text'/>";
        assert!(read(&xml::read(text).unwrap()).is_err(), "not of the enumeration");
    }
}
