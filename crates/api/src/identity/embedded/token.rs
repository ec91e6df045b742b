//! Tokens: who and where and until when, signed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{People, people, with_implied};
use crate::hub::now;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    #[serde(rename = "u")]
    pub(super) user: String,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
    /// The application credential that it was got by, whose roles it has.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<String>,
    #[serde(rename = "i")]
    pub(super) issued: i64,
    #[serde(rename = "e")]
    pub(super) expires: i64,
}

fn signature(key: &[u8], payload: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(payload);
    Some(mac)
}

impl Token {
    pub(super) fn sign(&self, key: &[u8]) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).ok()?);
        let mac = signature(key, payload.as_bytes())?.finalize().into_bytes();
        Some(format!("{payload}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    /// What a token is remembered by when it is taken back: the token itself is not kept.
    pub(super) fn print(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()))
    }

    /// A token that is ours, whole, and not over.
    pub(super) fn read(text: &str, key: &[u8]) -> Option<Self> {
        let (payload, mac) = text.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        signature(key, payload.as_bytes())?
            .verify_slice(&mac)
            .ok()?;
        let token: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (token.expires > now().0).then_some(token)
    }

    /// The names of the roles that it has now; `None` when its user is gone, switched off or, in a
    /// project, without any.
    pub(super) fn roles(&self, people: &People) -> Option<Vec<String>> {
        let user = people.get(people::USER, &self.user)?;
        if user.get("enabled").is_some_and(|enabled| enabled == false) {
            return None;
        }
        let Some(project) = &self.project else {
            return Some(Vec::new());
        };
        let known = people.get(people::PROJECT, project)?;
        if known.get("enabled").is_some_and(|enabled| enabled == false) {
            return None;
        }
        let mut ids = people.roles(&self.user, project);
        if let Some(credential) = &self.credential {
            let credential = people.get(people::CREDENTIAL, credential)?;
            let allowed = credential.get("roles")?.as_array()?;
            ids.retain(|id| allowed.iter().any(|role| role["id"] == id.as_str()));
        }
        let names = ids
            .iter()
            .filter_map(|id| people.get(people::ROLE, id)?.get("name")?.as_str());
        let mut names: Vec<String> = names.flat_map(with_implied).collect();
        names.sort_unstable();
        names.dedup();
        // In a project where its user has no role any more it is good for nothing, as Keystone's.
        (!names.is_empty()).then_some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_key_and_its_time() {
        let token = Token {
            user: "u".into(),
            project: Some("p".into()),
            credential: None,
            issued: now().0,
            expires: now().0 + 60,
        };
        let text = token.sign(b"key").expect("signed");
        assert_eq!(Token::read(&text, b"key"), Some(token.clone()));
        assert_eq!(Token::read(&text, b"other"), None);
        assert_eq!(Token::read(&format!("{text}A"), b"key"), None);
        assert_eq!(Token::read("bogus", b"key"), None);
        let over = Token {
            expires: now().0 - 1,
            ..token
        };
        assert_eq!(
            Token::read(&over.sign(b"key").expect("signed"), b"key"),
            None
        );
    }
}
