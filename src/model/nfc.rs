//! Unicode normalisation form C: letters with their marks as one character, where there is one.

/// Composes a text.
#[cfg(feature = "ssr")]
pub fn nfc(text: &str) -> String {
    icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

/// Composes a text by the browser's own tables: ours would be a large part of the WASM.
#[cfg(not(feature = "ssr"))]
pub fn nfc(text: &str) -> String {
    js_sys::JsString::from(text).normalize("NFC").into()
}
