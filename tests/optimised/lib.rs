//! Nothing of its own: the tests named in `Cargo.toml`, built without development dependencies.
