//! A form of the dashboard, as it was sent. It needs no WASM.

use axum::extract::{FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use tower_sessions::Session;

use super::HeldForm;
use crate::app::links::keys::local_path;
use crate::model::ApiError;

/// A form as it was sent.
#[derive(Clone)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Reads it; the request's head is given back for what follows.
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

    /// The form, to be held while its sender signs in again; `None` when it is not held.
    pub fn held(self, parts: &Parts) -> Option<HeldForm> {
        HeldForm::of(parts, self.fields)
    }

    /// Its fields.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// A field; empty when it was not sent.
    pub fn take(&mut self, name: &str) -> String {
        let found = self.fields.iter_mut().find(|(field, _)| field == name);
        found.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    }

    /// Hands every field on to `take`, which says whether it knows it.
    ///
    /// # Errors
    /// 400 for the first that it does not know, or that was sent twice.
    pub fn hand_on(self, mut take: impl FnMut(&str, String) -> bool) -> Result<(), ApiError> {
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

    /// A field that says where to go on.
    pub fn take_path(&mut self, name: &str) -> Option<String> {
        let text = self.take(name);
        local_path(&text).map(str::to_owned)
    }
}

/// The form that was read before, which the request's head carries.
impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.remove().ok_or_else(ApiError::internal)
    }
}

/// The session of a request.
///
/// # Errors
/// Without the layer of sessions, which is a mistake of this server.
pub fn session(parts: &Parts) -> Result<Session, ApiError> {
    parts.extensions.get::<Session>().cloned().ok_or_else(ApiError::internal)
}
