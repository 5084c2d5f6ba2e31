//! Surprisal with a real language model, whose losses are read from its logits.

use async_trait::async_trait;

use super::*;
use crate::completions::model_name::ModelName;
use crate::completions::reply::Reply;
use crate::completions::request::Call;
use crate::completions::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use crate::completions::{Abilities, LanguageModel};
use crate::error::Result;
use crate::models::source::ModelSource;
use crate::models::subject_model::SubjectModel;

/// A subject model as a language model that can only read.
#[derive(Debug)]
struct Reader {
    name: ModelName,
    model: SubjectModel,
}

#[async_trait]
impl LanguageModel for Reader {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        Abilities { context_length: None, prompt_log_probabilities: true, reply_log_probabilities: false }
    }

    fn count_prompt_tokens(&self, _: &Request) -> Result<usize> {
        Err(Error::internal("no prompts"))
    }

    fn count_tokens(&self, _: &str) -> Option<usize> {
        None
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        calls.iter().map(|_| Err(Error::internal("no replies"))).collect()
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        prompts.iter().map(|_| Err(Error::internal("no slots"))).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        let losses = |continuation: &Continuation| {
            let tokenizer = self.model.tokenizer()?;
            let mut token_ids = tokenizer.encode(&continuation.prefix)?.token_ids;
            let n_prefix = token_ids.len();
            token_ids.extend(tokenizer.encode(&continuation.text)?.token_ids);
            let logits = self.model.logits(&token_ids)?;
            let rows: Vec<&[f32]> = logits.chunks_exact(self.model.config().n_vocab).collect();
            let loss = |i: usize| {
                let row = rows[i - 1];
                row.iter().map(|logit| f64::from(*logit).exp()).sum::<f64>().ln()
                    - f64::from(row[token_ids[i] as usize])
            };
            Ok(Reading::unstored((n_prefix..token_ids.len()).map(loss).collect()))
        };
        continuations.iter().map(losses).collect()
    }
}

#[tokio::test]
async fn smollm2_is_less_surprised_by_what_it_was_told_about() {
    let path = fetched("SmolLM2-135M-Instruct.Q4_1.gguf");
    let model = SubjectModel::load(&ModelSource::Path(path)).unwrap();
    let model = Reader { name: "local:smollm2".parse().unwrap(), model };
    let weather = [
        "heavy rain and strong wind had closed the mountain road",
        "a thin fog lay over the harbour until the sun came out",
        "thunder rolled in the distance and then the hail began",
        "by evening the snow had turned to sleet",
    ];
    let other = [
        "the committee will vote on the budget next month",
        "she tuned the violin and began to play the second movement",
        "divide the dough into four equal pieces",
        "his brother had sold the house without telling anyone",
    ];
    let windows =
        weather.map(|text| window(text, "", true)).into_iter().chain(other.map(|text| window(text, "", false)));
    let right = Task { explanation: "words for weather".to_owned(), examples: windows.collect(), seed: 0 };
    let wrong = Task { explanation: "words for cooking".to_owned(), ..right.clone() };
    let judged = judge_all(Judge::Surprisal, Some(&model), None, &[right, wrong]).await.unwrap();
    let ordered = |judged: &[Judgement]| {
        let values: Vec<f64> = judged.iter().map(|judgement| judgement.value.unwrap()).collect();
        let (of_weather, of_other) = values.split_at(weather.len());
        of_weather.iter().flat_map(|w| of_other.iter().map(move |o| u32::from(w > o))).sum::<u32>()
    };
    let (right, wrong) = (ordered(&judged[0]), ordered(&judged[1]));
    // Of 16 pairs; half of them would be chance.
    assert!(right >= 14 && wrong <= 8, "told the truth {right} of 16 pairs, told something else {wrong}");
}
