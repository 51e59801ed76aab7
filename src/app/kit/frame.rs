//! The frame of a page: the top bar, the sidebar, and the footer.
//!
//! The types of views nest like the views. Shared parts are erased to `AnyView`, so that the types stay short and
//! compile quickly.

use leptos::prelude::*;

use super::bar::{Bar, Brand};
use super::navigation::{Section, Sidebar};
use super::{Frame, with_code};
use crate::app::islands::icons::{ALERT, icon};
use crate::app::links::REFERENCE;

#[component]
fn Footer() -> AnyView {
    view! {
        <footer class="footer">
            <p>"Latchkey " {env!("CARGO_PKG_VERSION")}</p>
            <a href=REFERENCE>"API reference"</a>
        </footer>
    }
    .into_any()
}

/// The frame of a page for a signed-in person. `inert` while a dialog is open.
#[component]
pub fn Page(frame: Frame, section: Section, #[prop(optional)] inert: bool, children: Children) -> AnyView {
    let membership = frame.place.clone().map(|(membership, _)| membership);
    let place = frame.place().zip(membership);
    view! {
        <div class="page" inert=inert>
            <a class="skip-link" href="#main">"Skip to content"</a>
            <Bar frame section/>
            <div class="beside">
                {place.map(|(place, membership)| view! { <Sidebar place membership section/> })}
                <div class="content">
                    <main class="main" id="main" tabindex="-1">{children()}</main>
                    <Footer/>
                </div>
            </div>
        </div>
    }
    .into_any()
}

/// The frame of a message page without sign-in.
#[component]
pub fn Bare(children: Children) -> AnyView {
    view! {
        <div class="page">
            <a class="skip-link" href="#main">"Skip to content"</a>
            <header class="topbar"><div class="topbar-inner"><Brand/></div></header>
            <div class="content">
                <main class="main" id="main" tabindex="-1">{children()}</main>
                <Footer/>
            </div>
        </div>
    }
    .into_any()
}

/// The frame of a page outside of any environment, for a signed-in person or for anyone.
#[component]
pub fn Framed(
    #[prop(optional_no_strip)] frame: Option<Frame>,
    #[prop(default = Section::Elsewhere)] section: Section,
    children: Children,
) -> AnyView {
    match frame {
        Some(frame) => view! { <Page frame section>{children()}</Page> }.into_any(),
        None => view! { <Bare>{children()}</Bare> }.into_any(),
    }
}

/// The frame of sign-in and registration, one card. `beside` is the line below it. `unknown_host` is the host name in
/// the address bar, if the server refuses forms under that name.
#[component]
pub fn Auth(
    title: &'static str,
    lead: &'static str,
    #[prop(optional_no_strip)] unknown_host: Option<String>,
    #[prop(into)] beside: ViewFn,
    children: Children,
) -> AnyView {
    let unknown_host = unknown_host.map(|host| {
        view! {
            <p class="notice danger" role="alert">
                {icon(ALERT)}
                <span>
                    <strong>"This form will not work at this address. "</strong>
                    "The server does not know the name " <code>{host.clone()}</code> ". Start it with "
                    <code>{format!("--public-url http://{host}")}</code>
                    ", with https behind a proxy that has it, or open it by its IP address."
                </span>
            </p>
        }
    });
    view! {
        <div class="auth">
            <main id="main">
                <div class="auth-brand"><Brand/></div>
                <section class="auth-card" aria-labelledby="auth-title">
                    <div class="bitting" aria-hidden="true"></div>
                    <div class="inside">
                        <div>
                            <h1 id="auth-title">{title}</h1>
                            <p class="lead">{lead}</p>
                        </div>
                        {unknown_host}
                        {children()}
                    </div>
                </section>
                {beside.run()}
            </main>
            <Footer/>
        </div>
    }
    .into_any()
}

/// The error of a form as a whole.
#[component]
pub fn Notice(id: &'static str, text: String) -> impl IntoView {
    view! { <p class="notice danger" role="alert" id=id>{icon(ALERT)} <span>{text}</span></p> }
}

/// The error of a field; rendered empty without one, for `aria-describedby`.
#[component]
pub fn ErrorText(#[prop(into)] id: String, text: Option<String>) -> impl IntoView {
    view! { <p class="error" id=id>{text.map(|text| view! { {icon(ALERT)} <span>{with_code(&text)}</span> })}</p> }
}

/// The stored value of a field in conflict; rendered empty without a conflict, for `aria-describedby`.
#[component]
pub fn StoredText(#[prop(into)] id: String, value: Option<String>) -> impl IntoView {
    let text = value.map(|value| {
        view! { {icon(ALERT)} <span>"Changed elsewhere. Now: " <bdi><strong>{value}</strong></bdi></span> }
    });
    view! { <p class="conflict" id=id>{text}</p> }
}
