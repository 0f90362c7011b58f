//! What a message's file name tells (<https://cr.yp.to/proto/maildir.html>, and Dovecot's additions).

use crate::model::Flags;

/// The base name: what stays when flags change.
pub(super) fn base(file: &str) -> &str {
    file.split_once(':').map_or(file, |(base, _)| base)
}

/// The flag letters after `:2,`; empty if there are none. Other info (`:1,…`) is experimental and says nothing.
pub(super) fn letters(file: &str) -> &str {
    let info = file.split_once(':').map_or("", |(_, info)| info);
    // Dovecot writes further fields after another comma.
    info.strip_prefix("2,").map_or("", |flags| flags.split(',').next().unwrap_or(""))
}

/// Flags from letters; lower-case ones are the folder's keywords 0–25, unknown ones say nothing.
pub(super) fn flags(letters: &str, keywords: &[Option<String>]) -> Flags {
    let mut flags = Flags::default();
    for letter in letters.chars() {
        match letter {
            'D' => flags.draft = true,
            'F' => flags.flagged = true,
            'R' => flags.answered = true,
            'S' => flags.seen = true,
            'T' => flags.deleted = true,
            'P' => flags.add("$Forwarded"),
            'a'..='z' => {
                let index = letter as usize - 'a' as usize;
                if let Some(Some(keyword)) = keywords.get(index) {
                    flags.add(keyword);
                }
            }
            _ => {}
        }
    }
    flags
}

/// A `,W=` (size with CRLF) or `,S=` (size of the file) field of the base name, in bytes.
pub(super) fn size(base: &str, field: &str) -> Option<u64> {
    base.split(',').skip(1).find_map(|f| f.strip_prefix(field)).and_then(|digits| digits.parse().ok())
}

/// The seconds since 1970 the base name begins with.
pub(super) fn seconds(base: &str) -> Option<i64> {
    let digits = base.split(['.', '_', ',']).next()?;
    let plain = !digits.is_empty() && digits.len() <= 12 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// Keywords of a `dovecot-keywords` file: lines of an index 0–25 and a name.
pub(super) fn keywords(text: &str) -> Vec<Option<String>> {
    let mut out = vec![None; 26];
    for line in text.lines().take(1000) {
        let Some((index, name)) = line.split_once(' ') else { continue };
        let slot = index.parse::<usize>().ok().and_then(|i| out.get_mut(i));
        if let Some(slot) = slot
            && !name.is_empty()
            && name.len() <= 255
            && !name.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            *slot = Some(name.to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_name_is_taken_apart() {
        let file = "1276528487.M364837P9451.host,S=1355,W=1394:2,FPSa";
        assert_eq!(base(file), "1276528487.M364837P9451.host,S=1355,W=1394");
        assert_eq!(letters(file), "FPSa");
        assert_eq!(size(base(file), "W="), Some(1394));
        assert_eq!(size(base(file), "S="), Some(1355));
        assert_eq!(seconds(file), Some(1_276_528_487));
        assert_eq!(seconds("12x.y"), None);
        assert_eq!(letters("a:1,S"), "");
        let flags = flags("FPSaz", &keywords("0 work\n1 later\nx y\n99 z\n"));
        assert_eq!(flags.encode(), "FS $Forwarded work");
    }

    proptest! {
        #[test]
        fn no_name_makes_the_parser_panic(name in "[0-9a-zA-Z:,.=\u{0}é]{0,30}") {
            let _ = (letters(&name), size(base(&name), "S="), seconds(&name), flags(&name, &keywords(&name)));
        }
    }
}
