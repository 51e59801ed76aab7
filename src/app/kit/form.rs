//! A submitted form of the dashboard. Needs no WASM.

use axum::extract::{FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use tower_sessions::Session;

use super::HeldForm;
use crate::app::links::local_path;
use crate::model::ApiError;

/// A submitted form.
#[derive(Clone)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Reads the form of a request; also returns the head of the request.
    ///
    /// # Errors
    /// 413 for more than 64 KiB, 415 for anything but a form.
    pub async fn read(request: Request) -> Result<(Self, Parts), (ApiError, Parts)> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_form = kind
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        if !is_form {
            let error = ApiError {
                detail: "This address takes the dashboard's own forms only.".into(),
                ..ApiError::not_json()
            };
            return Err((error, parts));
        }
        match crate::web::json::read(body, crate::web::json::BODY_LIMIT).await {
            Ok(body) => Ok((Self { fields: form_urlencoded::parse(&body).into_owned().collect() }, parts)),
            Err(error) => Err((error, parts)),
        }
    }

    /// Returns the form to hold during sign-in; `None` for a form that is not held.
    pub fn held(self, parts: &Parts) -> Option<HeldForm> {
        HeldForm::of(parts, self.fields)
    }

    /// Returns the fields.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// Takes the value of a field; empty if it was not sent.
    pub fn take(&mut self, name: &str) -> String {
        let found = self.fields.iter_mut().find(|(field, _)| field == name);
        found.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    }

    /// Passes every field to `take`, which returns whether the field is known.
    ///
    /// # Errors
    /// 400 for the first field that is unknown or was sent twice.
    pub fn take_all(self, mut take: impl FnMut(&str, String) -> bool) -> Result<(), ApiError> {
        let mut known: Vec<String> = Vec::new();
        for (name, text) in self.fields {
            let shown = || name.chars().take(60).collect::<String>();
            if known.contains(&name) {
                return Err(ApiError::invalid_field(shown(), "is given twice"));
            }
            if !take(&name, text) {
                return Err(ApiError::invalid_field(shown(), "is not a known field"));
            }
            known.push(name);
        }
        Ok(())
    }

    /// Takes a field with a path of this server; `None` for another address.
    pub fn take_path(&mut self, name: &str) -> Option<String> {
        let text = self.take(name);
        local_path(&text).map(str::to_owned)
    }
}

/// Takes the form that a layer has read and stored in the extensions of the request.
impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.remove().ok_or_else(ApiError::internal)
    }
}

/// Returns the session of a request.
///
/// # Errors
/// 500 without the session layer, which is a bug of this server.
pub fn session(parts: &Parts) -> Result<Session, ApiError> {
    parts.extensions.get::<Session>().cloned().ok_or_else(ApiError::internal)
}
