//! `application/x-www-form-urlencoded`: what a token is asked for with.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// The fields of a form; of two of one name the later counts.
pub(in crate::mock) fn read(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    text.split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let decode = |t: &str| percent_decode_str(&t.replace('+', " ")).decode_utf8_lossy().into_owned();
            Some((decode(name), decode(value)))
        })
        .collect()
}
