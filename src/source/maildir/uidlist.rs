//! `dovecot-uidlist`, version 3: Dovecot's own numbers.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::guard::files::open_regular;

use super::name;

/// Longest line taken, in bytes.
const MAX_LINE: u64 = 4096;
/// Longest file taken, in bytes: some four million messages.
const MAX_FILE: u64 = 512 << 20;

/// The numbers of a folder.
#[derive(Debug, Default)]
pub(super) struct Uidlist {
    /// UIDVALIDITY.
    pub(super) epoch: u64,
    /// The next number.
    pub(super) next: u64,
    /// Base name → number.
    pub(super) numbers: HashMap<String, u64>,
}

/// Reads a folder's list; `None` if there is none, or it is not of version 3, or it contradicts itself.
pub(super) fn read(folder: &Path) -> Option<Uidlist> {
    let (file, _) = open_regular(&folder.join("dovecot-uidlist")).ok()?;
    parse(BufReader::new(file.take(MAX_FILE)))
}

/// `3 V<validity> N<next> …`, then `<uid> [<letter><value> …] :<file name>`.
fn parse(mut lines: impl BufRead) -> Option<Uidlist> {
    let mut line = Vec::new();
    let header = next_line(&mut lines, &mut line)?;
    let mut fields = header.split(' ');
    if fields.next()? != "3" {
        return None;
    }
    let mut list = Uidlist::default();
    for field in fields {
        if let Some(v) = field.strip_prefix('V') {
            list.epoch = v.parse().ok()?;
        } else if let Some(n) = field.strip_prefix('N') {
            list.next = n.parse().ok()?;
        }
    }
    if list.epoch == 0 {
        return None;
    }
    let mut last = 0;
    while let Some(row) = next_line(&mut lines, &mut line) {
        let (head, file) = row.split_once(':')?;
        let number: u64 = head.split(' ').next()?.parse().ok()?;
        let number_fits = number > last && u32::try_from(number).is_ok();
        if !number_fits || list.numbers.insert(name::base(file).to_owned(), number).is_some() {
            return None;
        }
        last = number;
    }
    // A list that was cut off has no line end at its end, or rows we did not see: the caller then finds messages
    // without numbers. A stale `next` is repaired here.
    list.next = list.next.max(last + 1);
    line.is_empty().then_some(list)
}

/// One line without its end; `None` at the end of the file, with `line` left non-empty if that is no clean end.
fn next_line<'a>(lines: &mut impl BufRead, line: &'a mut Vec<u8>) -> Option<&'a str> {
    line.clear();
    let n = lines.take(MAX_LINE).read_until(b'\n', line).ok()?;
    if n == 0 || line.last() != Some(&b'\n') {
        return None;
    }
    line.pop();
    std::str::from_utf8(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_base_name() {
        let text = "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n\
                    25006 W1 :1276528487.M1P1.host,S=1355,W=1394:2,S\n25017 W2481 :1276533073.M2P1.host\n";
        let list = parse(text.as_bytes()).expect("list");
        assert_eq!((list.epoch, list.next), (1_275_660_208, 25022));
        assert_eq!(list.numbers["1276528487.M1P1.host,S=1355,W=1394"], 25006);
        assert_eq!(list.numbers["1276533073.M2P1.host"], 25017);
    }

    #[test]
    fn a_damaged_list_is_no_list() {
        for text in [
            "",
            "1 1275660208 5\n",
            "3 V0 N5\n",
            "3 V1 N5\n7 :a\n6 :b\n",
            "3 V1 N5\n1 :a\n2 :a\n",
            "3 V1 N5\nx :a\n",
            "3 V1 N5\n1 :a",
            "3 V1 N5\n99999999999 :a\n",
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
