//! Matrices that are always there.

/// Those that ship: name and text.
pub fn shipped() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "mixed-mesh",
            include_str!("../../../scenarios/matrices/mixed-mesh.yaml"),
        ),
        (
            "replayed",
            include_str!("../../../scenarios/matrices/replayed.yaml"),
        ),
    ]
}

/// A file that a matrix which ships names, by what it is called there.
pub fn shipped_file(name: &str) -> Option<&'static [u8]> {
    match name {
        "../../fixtures/captures/sofarpc_bolt_hessian2.pcap" => Some(include_bytes!(
            "../../../fixtures/captures/sofarpc_bolt_hessian2.pcap"
        )),
        "../maps/recorded.yaml" => Some(include_bytes!("../../../scenarios/maps/recorded.yaml")),
        _ => None,
    }
}
