//! The application API of a sidecar (127.0.0.1:13330), as SOFARPC 5.13.2 speaks it (its module
//! `registry-mesh`): JSON over HTTP/1.1 POST, with `Content-Type: text/plain`.

use serde::{Deserialize, Serialize};

/// What is asked for, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `/configs/application`: once per process, before anything else.
    Application,
    /// `/services/publish`.
    Publish,
    /// `/services/subscribe`.
    Subscribe,
    /// `/services/unpublish`.
    Unpublish,
    /// `/services/unsubscribe`.
    Unsubscribe,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 5] = [
        Operation::Application,
        Operation::Publish,
        Operation::Subscribe,
        Operation::Unpublish,
        Operation::Unsubscribe,
    ];

    /// The path of the request.
    pub fn path(self) -> &'static str {
        match self {
            Operation::Application => "/configs/application",
            Operation::Publish => "/services/publish",
            Operation::Subscribe => "/services/subscribe",
            Operation::Unpublish => "/services/unpublish",
            Operation::Unsubscribe => "/services/unsubscribe",
        }
    }

    /// The last part of the path: the method name in every output.
    pub fn name(self) -> &'static str {
        let path = self.path();
        path.rsplit('/').next().unwrap_or(path)
    }

    /// By the path of a request, without its query.
    pub fn of_path(path: &str) -> Option<Operation> {
        Operation::ALL
            .into_iter()
            .find(|known| known.path() == path)
    }
}

/// Body of [`Operation::Application`]; other members may be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Application {
    /// The app that runs in this pod.
    pub app_name: Option<String>,
}

/// Body of [`Operation::Publish`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Publish {
    /// `interface:version[:uniqueId]`.
    pub service_name: String,
    /// `bolt` or `tr`.
    pub protocol_type: String,
    /// What goes into the provider's options.
    pub provider_meta_info: ProviderMeta,
    /// As SOFARPC sends it.
    pub only_publish_in_cloud: bool,
    /// As SOFARPC sends it.
    pub group: Option<String>,
}

/// Part of [`Publish`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProviderMeta {
    /// `bolt` or `tr`.
    pub protocol: Option<String>,
    /// Of the RPC framework: `4.0`.
    pub version: Option<String>,
    /// `hessian2`.
    pub serialize_type: Option<String>,
    /// The app.
    pub app_name: Option<String>,
    /// Whatever else.
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// Body of [`Operation::Subscribe`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscribe {
    /// `interface:version[:uniqueId]`.
    pub service_name: String,
    /// `bolt` or `tr`: what the app can speak.
    pub protocol_type: String,
    /// A VIP, in either form, or an address.
    pub target_app_address: Option<String>,
    /// Ask the VIP even where the config center knows the service.
    pub vip_enforce: bool,
    /// Never ask the config center.
    pub vip_only: bool,
    /// As SOFARPC sends it.
    pub local_cloud_first: bool,
    /// As SOFARPC sends it.
    pub group: Option<String>,
    /// As SOFARPC sends it.
    pub properties: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Body of [`Operation::Unpublish`] and [`Operation::Unsubscribe`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Withdraw {
    /// `interface:version[:uniqueId]`.
    pub service_name: String,
    /// `bolt` or `tr`.
    pub protocol_type: Option<String>,
    /// Only in [`Operation::Unsubscribe`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_app_address: Option<String>,
    /// As SOFARPC sends it.
    pub group: Option<String>,
}

/// Every answer, with status 200.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// Without it the app gives up.
    pub success: bool,
    /// Empty where there is none; answers to `unpublish` and `unsubscribe` may lack it.
    pub error_message: String,
    /// Only after [`Operation::Subscribe`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Only after [`Operation::Subscribe`]: `IP:PORT?p=1&…`. SOFARPC takes the protocol and the
    /// options of the first one alone, and calls 127.0.0.1:12220 in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datas: Option<Vec<String>>,
}

/// The protocol code in the `p` option of [`Answer::datas`].
pub mod protocol_code {
    /// BOLT.
    pub const BOLT: u8 = 1;
    /// TR.
    pub const TR: u8 = 13;
}
