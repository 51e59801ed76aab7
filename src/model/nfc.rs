//! Unicode normalisation form C: letters and their marks are composed into one character, where Unicode has one.

/// Composes a text.
#[cfg(feature = "ssr")]
pub fn nfc(text: &str) -> String {
    icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

/// Composes a text with the browser's tables: own tables would be a large part of the WASM.
#[cfg(not(feature = "ssr"))]
pub fn nfc(text: &str) -> String {
    js_sys::JsString::from(text).normalize("NFC").into()
}
