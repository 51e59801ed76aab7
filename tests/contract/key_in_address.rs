//! A whole key string in a URL or in the search field redirects to the key's page, and is in no answer.

use crate::app::{TestApp, log, on_both_engines};
use crate::story::{Answer, Call, Someone, create, someone};

async fn get(app: &TestApp, cookie: &str, path: &str) -> Answer {
    Call::new(app, "GET", path).cookie(cookie).send().await
}

async fn search(app: &TestApp, who: &Someone, cookie: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let call = Call::new(app, "POST", &who.page("keys/search")).cookie(cookie);
    call.header("content-type", "application/x-www-form-urlencoded").body(body).send().await
}

/// Asserts that the answer is a redirect to `location` and does not contain the key.
#[track_caller]
fn leads_to(answer: &Answer, location: &str, key: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, location));
    let secret = key.rsplit('_').next().expect("digits");
    let said = format!("{:?} {}", answer.headers, answer.text()).to_lowercase();
    assert!(!said.contains(secret), "{said}");
}

#[expect(clippy::format_collect, reason = "a few bytes of a test")]
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Creates a key of each kind, and returns each with the path of its page.
async fn keys(app: &TestApp, who: &Someone) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    for env in [&who.live, &who.test] {
        let made = create(app, &who.cookie, &who.in_env(env, "")).await;
        let page = format!("/o/{}/{env}/keys/{}", who.org, made.field("/id"));
        keys.push((made.field("/key"), page));
    }
    let login = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;
    let access = Call::new(app, "POST", "/api/v1/auth/login").json(login).send().await.field("/accessToken");
    let call = Call::new(app, "POST", "/api/v1/apikeys").header("authorization", &format!("Bearer {access}"));
    let key = call.json(r#"{"name": "sentry"}"#).send().await.field("/key");
    let listed = get(app, &who.cookie, &format!("/v1/auth/api-keys?org_id={}", who.org)).await;
    let listed = listed.json();
    let sentry = listed["api_keys"].as_array().unwrap().iter().find(|key| key["name"] == "sentry");
    let id = sentry.and_then(|key| key["id"].as_str()).expect("the key is listed").to_owned();
    keys.push((key, who.page(&format!("keys/{id}"))));
    keys
}

on_both_engines! {
    async fn a_pasted_key_is_found_and_not_stored(app) {
        let ada = someone(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        let place = [("state", "active")];
        for (key, page) in keys(&app, &ada).await {
            let wrapped = [format!(" {key}\r\n"), format!("X-API-Key: {key}"), key.to_uppercase(), percent(&key)];
            for text in wrapped.iter().chain([&key]) {
                let fields = [&place[..], &[("q", text)]].concat();
                leads_to(&search(&app, &ada, &ada.cookie, &fields).await, &page, &key);
            }
            // The script of the page sends the hash of a key that it recognised.
            let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(key.as_bytes()));
            leads_to(&search(&app, &ada, &ada.cookie, &[("q", ""), ("hash", &hash)]).await, &page, &key);

            // A key of another organisation is not found, and the list says so.
            let list = eve.page("keys?state=active");
            let fields = [("state", "active"), ("q", &key)];
            leads_to(&search(&app, &eve, &eve.cookie, &fields).await, &list, &key);
            let page = get(&app, &eve.cookie, &list).await.text();
            assert!(page.contains("No key found for the string that you pasted"), "{page}");
            leads_to(&search(&app, &eve, "session=nothing", &fields).await, &list, &key);
            assert!(!log().contains(&key) && !log().contains(&key.to_uppercase()));
        }
        let other = format!("hs_live_{}", "0".repeat(64));
        leads_to(&search(&app, &ada, &ada.cookie, &[("q", &other)]).await, &ada.page("keys"), &other);
        leads_to(&search(&app, &ada, &ada.cookie, &[("q", "x"), ("hash", "00")]).await, &ada.page("keys?q=x"), "hash");
    }

    /// A field that truncates the pasted text loses the checksum, and keeps the secret.
    async fn a_truncated_key_is_not_stored_either(app) {
        let ada = someone(&app, "ada@example.com").await;
        for (key, page) in keys(&app, &ada).await {
            // Neither the page nor the server truncates a text that is longer than a name.
            let pasted = format!("curl https://keys.example.com/v1/whoami --silent --show-error -H \"Authorization: Bearer {key}\"");
            leads_to(&search(&app, &ada, &ada.cookie, &[("q", &pasted)]).await, &page, &key);

            let (prefix, digits) = key.rsplit_once('_').expect("digits");
            for length in [digits.len() - 1, digits.len() - 3, 16] {
                let cut = format!("{prefix}_{}", &digits[..length]);
                for text in [cut.clone(), format!("Authorization: Bearer {cut}"), cut.to_uppercase(), percent(&cut)] {
                    let list = ada.page("keys?state=active");
                    let fields = [("state", "active"), ("q", &text)];
                    leads_to(&search(&app, &ada, &ada.cookie, &fields).await, &list, &cut);
                    let shown = get(&app, &ada.cookie, &list).await.text();
                    assert!(shown.contains("The string that you pasted is a part of a key"), "{shown}");
                    assert!(!shown.to_lowercase().contains(&digits[..length]), "{shown}");
                    leads_to(&search(&app, &ada, "session=nothing", &fields).await, &list, &cut);

                    let (keys, events, filtered) = (ada.page("keys"), ada.page("events"), ada.page("events?from=2026-03-01"));
                    let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                    for (path, kept) in [
                        (format!("/keys?q={text}&state=active"), "/keys?state=active"),
                        (format!("{keys}?q={text}&state=active"), &*list),
                        (format!("{events}?source={text}&from=2026-03-01"), &*filtered),
                        (format!("{keys}?lost={text}"), &*keys),
                        (format!("/no/such/page?{text}"), "/no/such/page"),
                        (format!("/keys/{cut}?org=7"), "/"),
                        (format!("{keys}/{cut}?state=active"), "/"),
                        (format!("/sign-in?next=%2Fkeys%3Fq%3D{text}"), "/sign-in"),
                    ] {
                        for cookie in [ada.cookie.as_str(), "a=b"] {
                            leads_to(&get(&app, cookie, &path).await, kept, &cut);
                        }
                    }
                    assert!(!log().contains(&cut) && !log().contains(&cut.to_uppercase()));
                }
            }
        }
        // The script of the page sends an empty hash for a part of a key.
        leads_to(&search(&app, &ada, &ada.cookie, &[("q", ""), ("hash", "")]).await, &ada.page("keys"), "hash");
        assert!(get(&app, &ada.cookie, &ada.page("keys")).await.text().contains("The string that you pasted is a part of a key"));
    }

    async fn a_key_in_the_filter_of_events_is_found_and_not_stored(app) {
        let ada = someone(&app, "ada@example.com").await;
        let filter = async |fields: &[(&str, &str)]| {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            let call = Call::new(&app, "POST", &ada.page("events/search")).cookie(&ada.cookie);
            call.header("content-type", "application/x-www-form-urlencoded").body(body).send().await
        };
        let place = [("key", ""), ("from", "2026-03-01"), ("to", "")];
        let list = ada.page("events?from=2026-03-01");
        for (key, page) in keys(&app, &ada).await {
            leads_to(&filter(&[&place[..], &[("source", &key)]].concat()).await, &page, &key);
            let cut = &key[..key.len() - 8];
            leads_to(&filter(&[&place[..], &[("source", cut)]].concat()).await, &list, cut);
        }
        let answer = filter(&[&place[..], &[("source", " orders "), ("page", "7")]].concat()).await;
        assert_eq!(answer.header("location"), format!("{list}&source=orders"));
        let page = get(&app, &ada.cookie, &ada.page("events?source=nobody")).await.text();
        assert!(page.contains(&format!("action=\"{}\"", ada.page("events/search"))) && !page.contains("method=\"get\""), "{page}");
        // With `maxlength`, a browser would silently truncate the pasted text.
        assert!(page.contains("id=\"source\"") && !page.contains("maxlength"), "{page}");
        assert!(!get(&app, &ada.cookie, &ada.page("keys?q=nothing")).await.text().contains("maxlength"));
    }

    async fn a_search_redirects_to_the_filtered_list(app) {
        let ada = someone(&app, "ada@example.com").await;
        let fields = [("org", ada.org.as_str()), ("q", " a & b=é "), ("state", ""), ("cursor", "x"), ("next", "//evil.example")];
        let answer = search(&app, &ada, &ada.cookie, &fields).await;
        assert_eq!(answer.header("location"), ada.page("keys?q=a+%26+b%3D%C3%A9"));
        assert_eq!(search(&app, &ada, &ada.cookie, &[("q", "")]).await.header("location"), ada.page("keys"));
        let long = search(&app, &ada, &ada.cookie, &[("q", &"x".repeat(5000))]).await;
        assert!(long.header("location").len() < 400, "{}", long.header("location"));
        for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
            let foreign = Call::new(&app, "POST", &ada.page("keys/search")).cookie(&ada.cookie).header("host", "127.0.0.1:3000");
            let foreign = foreign.header("content-type", "application/x-www-form-urlencoded").header(name, value);
            assert_eq!(foreign.body("q=x").send().await.status, 403, "{name}");
        }
        // A page without keys has no search.
        create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let list = get(&app, &ada.cookie, &ada.page("keys")).await.text();
        let form = format!("method=\"post\" action=\"{}\"", ada.page("keys/search"));
        let is_posted = list.contains(&form) && !list.contains("method=\"get\"");
        assert!(is_posted, "a search text is in an address: {list}");
    }

    async fn a_key_in_the_url_of_a_page_is_removed(app) {
        let ada = someone(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        for (key, page) in keys(&app, &ada).await {
            for path in [
                format!("/keys?q={key}"),
                format!("/keys?state=active&q=%20{}%0A&org=7", percent(&key)),
                format!("/keys?{key}"),
                format!("/keys?{key}=1"),
                format!("/events?source=a&utm={key}"),
                format!("/no/such/page?x={key}"),
                format!("/docs/api?q={key}"),
                format!("/cluster?q={}", key.to_uppercase()),
                format!("/sign-in?next=%2Fkeys%3Fq%3D{key}"),
                format!("/sign-in?next=%2Fkeys%3Fq%3D{}", percent(&percent(&key))),
                format!("/keys/{key}"),
                ada.page(&format!("keys?q={key}")),
                ada.page(&format!("keys/{key}")),
                eve.page(&format!("events?source={key}")),
            ] {
                leads_to(&get(&app, &ada.cookie, &path).await, &page, &key);
            }
            // Without the right to see the key, or without a session, the redirect is to the same URL without the key.
            let kept = format!("/keys?a=%2F&q=&org={}&b=c+d", eve.org);
            let path = format!("/keys?a=%2F&q=&x={key}&org={}&b=c+d&y=%09{}", eve.org, percent(&key));
            for cookie in [eve.cookie.as_str(), "session=nothing", "a=b"] {
                leads_to(&get(&app, cookie, &path).await, &kept, &key);
                leads_to(&get(&app, cookie, &format!("/events?{key}")).await, "/events", &key);
                leads_to(&get(&app, cookie, &format!("/keys/{key}?org=7")).await, "/", &key);
                leads_to(&get(&app, cookie, &format!("//evil.example/?q={key}")).await, "/", &key);
                leads_to(&get(&app, cookie, &format!("/sign-in?next=%2Fkeys%3Fq%3D{key}")).await, "/sign-in", &key);
            }
            let head = Call::new(&app, "HEAD", &format!("/keys?q={key}")).cookie(&ada.cookie).send().await;
            leads_to(&head, &page, &key);
            // A form with such a URL in `next` redirects to the list.
            let body = format!("email=ada%40example.com&password=correct+horse+battery&next=%2Fkeys%3Fq%3D{key}");
            let call = Call::new(&app, "POST", "/sign-in").header("content-type", "application/x-www-form-urlencoded");
            leads_to(&call.body(body).send().await, "/", &key);
            assert!(!log().contains(&key) && !log().contains(&key.to_uppercase()));
        }
        // Fewer than 16 digits of a key are a search text.
        assert_eq!(get(&app, &ada.cookie, &ada.page("keys?q=hs_live_0123")).await.status, 200);
    }
}
