-- summary: Tokens whose logits a unit raises most, by its output weights.
-- reads:
-- params: $model_source, $hook_point, $neuron
SELECT promoted_tokens($model_source, $hook_point, $neuron) AS tokens
