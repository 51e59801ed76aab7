//! The frame of a page: the top bar with its two menus, and the footer.
//!
//! The types of views nest like the views. Shared parts are erased to `AnyView`, so that the types stay short and
//! compile quickly.

use leptos::prelude::*;

use super::with_code;
use crate::app::islands::icons::{ALERT, CHECK, DOWN, icon};
use crate::app::links::events::EventsLink;
use crate::app::links::keys::KeysLink;
use crate::domain::{Action, Person};
use crate::model::{EnvironmentId, OrganisationId};

const MARK: &str = r#"<circle cx="10.5" cy="8.6" r="5.3"/><path d="M10.5 13.9V27H27.2M18 27v-6.2M24.6 27v-4.4"/>"#;

/// The name and mark, a link to the start page.
#[component]
fn Brand() -> AnyView {
    view! {
        <a class="brand" href="/" aria-label="Latchkey, API keys">
            <svg
                class="brand-mark"
                viewBox="0 0 32 32"
                fill="none"
                stroke="currentColor"
                stroke-width="3.6"
                stroke-linejoin="round"
                aria-hidden="true"
                inner_html=MARK
            ></svg>
            <span class="brand-name">"Latchkey"</span>
        </a>
    }
    .into_any()
}

/// `place` is the environment that the API reference links back to.
#[component]
fn Footer(#[prop(optional)] place: KeysLink) -> AnyView {
    view! {
        <footer class="footer">
            <p>"Latchkey " {env!("CARGO_PKG_VERSION")}</p>
            <a href=place.reference_href()>"API reference"</a>
        </footer>
    }
    .into_any()
}

/// A section of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The keys of an organisation.
    Keys,
    /// The events of an organisation.
    Events,
    /// The servers, outside of any organisation.
    Cluster,
    /// Any other page.
    Elsewhere,
}

impl Section {
    /// Returns the first page of the section in an organisation. Sections outside of organisations lead to the keys.
    fn href(self, organisation: OrganisationId, environment: Option<EnvironmentId>) -> String {
        match self {
            Self::Events => EventsLink::to(organisation).beside(environment).href(),
            Self::Keys | Self::Cluster | Self::Elsewhere => KeysLink::to(organisation, environment).href(),
        }
    }
}

/// The frame of a page for a signed-in person, with or without an organisation. `inert` while a dialog is open.
#[component]
pub fn Page(
    person: Person,
    #[prop(optional_no_strip)] organisation: Option<OrganisationId>,
    /// The environment that the links of the bar keep.
    #[prop(optional_no_strip)]
    environment: Option<EnvironmentId>,
    #[prop(default = Section::Keys)] section: Section,
    #[prop(optional)] inert: bool,
    children: Children,
) -> AnyView {
    let sees_cluster = person.may(Action::SeeServer);
    let name = organisation.and_then(|id| person.in_organisation(id)).map(|membership| membership.name.clone());
    view! {
        <div class="page" inert=inert>
            <a class="skip-link" href="#main">"Skip to content"</a>
            <header class="topbar">
                <div class="topbar-inner">
                    <Brand/>
                    {name.map(|name| view! { <OrganisationMenu person=person.clone() section current=organisation name/> })}
                    {organisation.map(|organisation| view! { <Sections organisation environment section/> })}
                    <AccountMenu email=person.email sees_cluster/>
                </div>
            </header>
            <main class="main" id="main" tabindex="-1">{children()}</main>
            <Footer place=KeysLink { organisation, environment, ..KeysLink::default() }/>
        </div>
    }
    .into_any()
}

/// The links to the keys and the events of an organisation.
#[component]
fn Sections(organisation: OrganisationId, environment: Option<EnvironmentId>, section: Section) -> AnyView {
    let link = |to: Section, words: &'static str| {
        view! { <a href=to.href(organisation, environment) aria-current=(to == section).then_some("page")>{words}</a> }
    };
    view! {
        <nav class="sections" aria-label="Dashboard">
            {link(Section::Keys, "API keys")}
            {link(Section::Events, "Events")}
        </nav>
    }
    .into_any()
}

#[component]
fn OrganisationMenu(person: Person, section: Section, current: Option<OrganisationId>, name: String) -> AnyView {
    let entry = move |membership: &crate::domain::Membership| {
        let is_current = current == Some(membership.organisation);
        view! {
            <li>
                <a
                    class="menu-item"
                    href=section.href(membership.organisation, None)
                    aria-current=is_current.then_some("true")
                >
                    <bdi>{membership.name.clone()}</bdi>
                    <span class="end">{membership.role.as_str()}</span>
                    {is_current.then(|| icon(CHECK))}
                </a>
            </li>
        }
    };
    view! {
        <span class="slash" aria-hidden="true"></span>
        <details class="menu" name="topbar-menu">
            <summary>
                <span class="visually-hidden">"Organisation: "</span>
                <span class="label"><bdi>{name}</bdi></span>
                {icon(DOWN)}
            </summary>
            <nav class="menu-panel" aria-label="Organisations">
                <p class="menu-title">"Organisations"</p>
                <ul>{person.memberships.iter().map(entry).collect_view()}</ul>
            </nav>
        </details>
    }
    .into_any()
}

#[component]
fn AccountMenu(email: String, sees_cluster: bool) -> AnyView {
    let initial = email.chars().next().map(String::from);
    view! {
        <details class="menu end topbar-end" name="topbar-menu">
            <summary>
                <span class="visually-hidden">"Account: "</span>
                <span class="avatar" aria-hidden="true">{initial}</span>
                <span class="label"><bdi>{email.clone()}</bdi></span>
                {icon(DOWN)}
            </summary>
            <div class="menu-panel">
                <p class="menu-title">"Signed in as" <strong><bdi>{email}</bdi></strong></p>
                <hr/>
                {sees_cluster.then(|| view! { <a class="menu-item" href="/cluster">"Cluster"</a> })}
                <form method="post" action="/sign-out">
                    <button class="menu-item" type="submit">"Sign out"</button>
                </form>
            </div>
        </details>
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
            <main class="main" id="main" tabindex="-1">{children()}</main>
            <Footer/>
        </div>
    }
    .into_any()
}

/// The frame of a page that needs no sign-in: that of the person if one is signed in. `asked` is the organisation and
/// environment in the address.
#[component]
pub fn Framed(#[prop(optional_no_strip)] person: Option<Person>, asked: KeysLink, children: Children) -> AnyView {
    let Some(person) = person else {
        return view! { <Bare>{children()}</Bare> }.into_any();
    };
    let named = asked.organisation.and_then(|id| person.in_organisation(id));
    let membership = named.or(person.memberships.first());
    let organisation = membership.map(|membership| membership.organisation);
    let is_here = |id: &EnvironmentId| membership.is_some_and(|membership| membership.environment(*id).is_some());
    let environment = asked.environment.filter(is_here);
    view! { <Page person organisation environment section=Section::Elsewhere>{children()}</Page> }.into_any()
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
