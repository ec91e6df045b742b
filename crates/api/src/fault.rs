//! What is answered instead of what was asked for, in the forms that Neutron's clients know.

use bytes::Bytes;
use http::StatusCode;
use intent::attrs::BadInput;
use ledger::Refusal;
use serde_json::json;

/// A request that is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub status: StatusCode,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// `{"NeutronError": …}`, with Neutron's name of the error.
    Neutron { kind: &'static str, message: String },
    /// `{"error": …}`, the identity service's form, which also refuses tokens.
    Identity { title: String, message: String },
    /// `{"code": …}`: the path leads to no API at all.
    NoApi,
    /// The extensions' own way to say that there is none.
    NoExtension(String),
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident $status:ident $kind:literal $sentence:literal;)*) => {
        impl Fault {
            $($(#[$doc])* pub fn $name() -> Self {
                Self::neutron(StatusCode::$status, $kind, $sentence)
            })*
        }
    };
}

plain! {
    not_found NOT_FOUND "HTTPNotFound" "The resource could not be found.";
    method_not_allowed METHOD_NOT_ALLOWED "HTTPMethodNotAllowed"
        "The server could not comply with the request since it is either malformed or otherwise incorrect.";
    not_acceptable NOT_ACCEPTABLE "HTTPNotAcceptable"
        "The server could not comply with the request since it is either malformed or otherwise incorrect.";
    invalid_body BAD_REQUEST "HTTPBadRequest" "Body contains invalid data";
    too_slow REQUEST_TIMEOUT "HTTPRequestTimeout" "The request's body took too long to arrive.";
    too_large PAYLOAD_TOO_LARGE "HTTPRequestEntityTooLarge" "Request is too large.";
    /// The request may be good; the store can't take it now.
    unavailable SERVICE_UNAVAILABLE "HTTPServiceUnavailable"
        "The server is currently unavailable. Please try again at a later time.";
    /// Another server takes writes: this one passes the request on.
    not_writer SERVICE_UNAVAILABLE "HTTPServiceUnavailable" "Another server takes writes.";
    /// The store broke off while it wrote.
    unknown_outcome GATEWAY_TIMEOUT "HTTPGatewayTimeout"
        "The store broke off: it is not known whether the request was done.";
    too_late GATEWAY_TIMEOUT "HTTPGatewayTimeout"
        "It took too long: it is not known whether the request was done.";
    not_authorized FORBIDDEN "NotAuthorized" "Not authorized.";
    internal INTERNAL_SERVER_ERROR "HTTPInternalServerError"
        "Request Failed: internal server error while processing your request.";
}

impl Fault {
    pub fn neutron(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            body: Body::Neutron {
                kind,
                message: message.into(),
            },
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::neutron(StatusCode::BAD_REQUEST, "HTTPBadRequest", message)
    }

    pub fn identity(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            body: Body::Identity {
                title: status.canonical_reason().unwrap_or_default().to_owned(),
                message: message.into(),
            },
        }
    }

    pub fn unauthorized() -> Self {
        Self::identity(
            StatusCode::UNAUTHORIZED,
            "The request you have made requires authentication.",
        )
    }

    pub fn no_api() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            body: Body::NoApi,
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        let value = match &self.body {
            Body::Neutron { kind, message } => {
                json!({"NeutronError": {"type": kind, "message": message, "detail": ""}})
            }
            Body::Identity { title, message } => json!({"error": {
                "code": self.status.as_u16(), "title": title, "message": message
            }}),
            Body::NoApi => json!({"code": 404, "title": "Not Found", "description": null}),
            Body::NoExtension(alias) => json!({
                "message": format!(
                    "The resource could not be found.<br /><br />\n\
                     Extension with alias {alias} does not exist\n\n"
                ),
                "code": "404 Not Found",
                "title": "Not Found",
            }),
        };
        value.to_string().into()
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        Self::neutron(status, refusal.kind, refusal.message)
    }
}

impl From<BadInput> for Fault {
    fn from(bad: BadInput) -> Self {
        Self::neutron(StatusCode::BAD_REQUEST, bad.kind, bad.message)
    }
}
