//! Matrices that are always there.

/// Those that ship: name and text.
pub fn shipped() -> Vec<(&'static str, &'static str)> {
    vec![(
        "mixed-mesh",
        include_str!("../../../scenarios/matrices/mixed-mesh.yaml"),
    )]
}
