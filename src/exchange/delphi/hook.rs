//! Modules of Hugging Face models and the hook points at their outputs.

/// What a model's modules are called before `layers.<n>` or `h.<n>`.
const PREFIXES: [&str; 3] = ["model.", "transformer.", "gpt_neox."];

/// Modules of one block, and the hook point at their output; no name is the block itself.
const MODULES: [(&str, &str); 7] = [
    ("", "hook_resid_post"),
    ("mlp", "hook_mlp_out"),
    ("self_attn", "hook_attn_out"),
    ("attn", "hook_attn_out"),
    ("attention", "hook_attn_out"),
    ("self_attention", "hook_attn_out"),
    // Gemma's sparse coders of the MLP read after the norm that follows it, which is what the residual stream gets.
    ("post_feedforward_layernorm", "hook_mlp_out"),
];

/// The hook point at a module's output; `None` for modules that it would be a guess for.
pub(super) fn base(module: &str) -> Option<String> {
    let module = PREFIXES.iter().find_map(|prefix| module.strip_prefix(prefix)).unwrap_or(module);
    let rest = ["layers.", "h."].iter().find_map(|prefix| module.strip_prefix(prefix))?;
    let (layer, inner) = rest.split_once('.').unwrap_or((rest, ""));
    let layer: u32 = layer.parse().ok()?;
    let (_, hook) = MODULES.iter().find(|(name, _)| *name == inner)?;
    Some(format!("blocks.{layer}.{hook}"))
}

/// The module whose output a hook point is, by its usual name; other hook points keep theirs.
pub(super) fn module(hook_point: &str) -> String {
    let (base, _) = hook_point.split_once('/').unwrap_or((hook_point, ""));
    let named = base.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')).and_then(|(layer, hook)| {
        let (module, _) = MODULES.iter().find(|(_, known)| *known == hook)?;
        Some(if module.is_empty() { format!("layers.{layer}") } else { format!("layers.{layer}.{module}") })
    });
    named.unwrap_or_else(|| base.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_hook_points_name_each_other() {
        for (name, hook, back) in [
            ("layers.10", "blocks.10.hook_resid_post", "layers.10"),
            ("model.layers.10", "blocks.10.hook_resid_post", "layers.10"),
            ("layers.3.mlp", "blocks.3.hook_mlp_out", "layers.3.mlp"),
            ("h.5.attn", "blocks.5.hook_attn_out", "layers.5.self_attn"),
            ("gpt_neox.layers.0.attention", "blocks.0.hook_attn_out", "layers.0.self_attn"),
            ("layers.2.post_feedforward_layernorm", "blocks.2.hook_mlp_out", "layers.2.mlp"),
        ] {
            assert_eq!(base(name).as_deref(), Some(hook), "{name}");
            assert_eq!(module(&format!("{hook}/some-sae")), back);
        }
        for unknown in ["layers.3.mlp.act", "embed_tokens", "layers.x", "lm_head"] {
            assert_eq!(base(unknown), None);
        }
        assert_eq!(module("blocks.3.mlp.hook_post"), "blocks.3.mlp.hook_post");
    }
}
