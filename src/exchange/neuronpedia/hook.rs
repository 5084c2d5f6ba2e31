//! Where a source reads: its hook point, from what the dump tells or from what its name is known to stand for.

use crate::exchange::unit::layer_of;

/// SAE sets whose hook point is known by the end or the whole of their name, the longer ones first; `#` is the layer.
///
/// Source: SAELens `pretrained_saes.yaml` (the `neuronpedia` ids beside SAE ids that name their hook points) and its loaders.
const SETS: [(&str, &str); 22] = [
    ("res_mid_32k-oai", "hook_resid_mid"),
    ("res_mid_128k-oai", "hook_resid_mid"),
    ("res_post_32k-oai", "hook_resid_post"),
    ("res_post_128k-oai", "hook_resid_post"),
    ("mlp_32k-oai", "hook_mlp_out"),
    ("mlp_128k-oai", "hook_mlp_out"),
    ("att_32k-oai", "hook_attn_out"),
    ("att_128k-oai", "hook_attn_out"),
    ("res-jb", "hook_resid_pre"),
    ("res-jh", "hook_resid_post"),
    ("res-sm", "hook_resid_post"),
    ("mlp-sm", "hook_mlp_out"),
    ("att-sm", "hook_attn_out"),
    ("att-kk", "attn.hook_z"),
    ("res_sce-ajt", "hook_resid_pre"),
    ("res_scefr-ajt", "hook_resid_pre"),
    ("res_scl-ajt", "hook_resid_pre"),
    ("res_sle-ajt", "hook_resid_pre"),
    ("res_slefr-ajt", "hook_resid_pre"),
    ("res_sll-ajt", "hook_resid_pre"),
    ("res-matryoshka-dc", "hook_resid_post"),
    ("temporal-res", "hook_resid_post"),
];

/// The same by how a set's name begins.
const FAMILIES: [(&str, &str); 8] = [
    // The feature-splitting SAEs of one layer, by their width.
    ("res_fs", "hook_resid_pre"),
    ("gemmascope-res-", "hook_resid_post"),
    ("gemmascope-mlp-", "hook_mlp_out"),
    ("gemmascope-att-", "attn.hook_z"),
    ("gemmascope-2-res-", "hook_resid_post"),
    ("llamascope-res-", "hook_resid_post"),
    ("llamascope-mlp-", "hook_mlp_out"),
    ("llamascope-att-", "hook_attn_out"),
];

/// The layer and the set of a source id: `8-res-jb` is layer 8 of `res-jb`; `8` alone is layer 8 of the model's own neurons.
pub(super) fn layer_and_set(source: &str) -> Option<(i32, &str)> {
    let (layer, set) = source.split_once('-').unwrap_or((source, ""));
    let digits = !layer.is_empty() && layer.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| layer.parse().ok()).flatten().map(|layer| (layer, set))
}

/// The base hook point that a source's name is known to stand for; `None` where it would be a guess.
pub(super) fn known_base(source: &str) -> Option<String> {
    let (layer, set) = layer_and_set(source)?;
    // What follows two underscores tells one SAE of a set from another: its sparsity, or its step of training.
    let set = set.split_once("__").map_or(set, |(set, _)| set);
    let hook = SETS
        .iter()
        .find_map(|(name, hook)| (*name == set).then_some(*hook))
        .or_else(|| FAMILIES.iter().find_map(|(start, hook)| set.starts_with(start).then_some(*hook)))?;
    // The set has one SAE more than GPT-2 small has blocks: its last one reads the end of the last block.
    Some(match (set, layer) {
        ("res-jb", 12) => "blocks.11.hook_resid_post".to_owned(),
        _ => format!("blocks.{layer}.{hook}"),
    })
}

/// The hook point of a source's units: a latent's is the base hook point and the source's id.
pub(super) fn hook_point(source: &str, base: &str) -> String {
    format!("{base}/{source}")
}

/// The base hook point and the SAE's id; no id for a hook point of the model itself.
pub(super) fn parts(hook_point: &str) -> (&str, Option<&str>) {
    match hook_point.split_once('/') {
        Some((base, sae)) => (base, Some(sae)),
        None => (hook_point, None),
    }
}

/// The source id of a hook point: the SAE's id, or for the model's own neurons `<layer>-<rest of the hook point>`.
pub(super) fn source_id(hook_point: &str) -> String {
    match (parts(hook_point), layer_of(hook_point)) {
        ((_, Some(sae)), _) => sae.replace('/', "--"),
        ((base, None), Some(layer)) => {
            let rest = base.splitn(3, '.').nth(2).unwrap_or(base);
            format!("{layer}-{rest}")
        }
        ((base, None), None) => base.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sources_have_a_hook_point_and_others_none() {
        for (source, expected) in [
            ("8-res-jb", Some("blocks.8.hook_resid_pre")),
            ("12-res-jb", Some("blocks.11.hook_resid_post")),
            ("5-res_post_32k-oai", Some("blocks.5.hook_resid_post")),
            ("0-att-kk", Some("blocks.0.attn.hook_z")),
            ("8-res_fs768-jb", Some("blocks.8.hook_resid_pre")),
            ("20-gemmascope-res-16k", Some("blocks.20.hook_resid_post")),
            ("20-gemmascope-res-16k__l0-71", Some("blocks.20.hook_resid_post")),
            ("9-llamascope-mlp-32k", Some("blocks.9.hook_mlp_out")),
            // Transcoders read one place and write another; nobody's name tells which is meant.
            ("3-gemmascope-transcoder-16k", None),
            ("3-transcoder-hp", None),
            ("8", None),
            ("my-vectors", None),
            ("e-att-sm", None),
        ] {
            assert_eq!(known_base(source).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn a_hook_point_has_a_source_id() {
        for (hook, expected) in [
            ("blocks.8.hook_resid_pre/8-res-jb", "8-res-jb"),
            ("blocks.3.mlp.hook_post", "3-mlp.hook_post"),
            ("ln_final.hook_normalized", "ln_final.hook_normalized"),
        ] {
            assert_eq!(source_id(hook), expected);
        }
        assert_eq!(layer_of("blocks.11.hook_resid_post/12-res-jb"), Some(11));
        assert_eq!(layer_of("hook_embed"), None);
    }
}
