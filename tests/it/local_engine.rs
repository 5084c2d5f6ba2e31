//! The local engine beside llama.cpp's own server on the same file.

use neuronlake::completions::LanguageModel;
use neuronlake::completions::local::LocalModel;
use neuronlake::completions::request::{Call, Message, Purpose, Request};
use neuronlake::models::generation::placement::Placement;
use neuronlake::models::generation::sampling::Distribution;
use neuronlake::models::source::ModelSource;
use neuronlake::models::subject_model::SubjectModel;
use serde_json::json;

use crate::llama_server::{LlamaServer, smollm2};

/// A page: 300-odd tokens.
const PAGE: &str = "The town of Harrow Bridge stands where two rivers meet, and for most of its history the only way across was by boat. \
In 1742 a merchant named Thomas Vane offered to pay for a bridge if the town would let him collect a toll for twenty years. The town \
agreed, and the bridge was finished in the spring of 1745, with nine stone arches and a small house in the middle for the man who took \
the money. People complained about the price, which was one penny for a person and three for a cart, but they used it all the same, \
because the boats were slow and in winter they were dangerous. When the twenty years were over, Vane's son asked for twenty more. The \
town refused. One night in October the house in the middle of the bridge burned down, and nobody was ever charged. After that the \
crossing was free, and the market on the east bank grew so quickly that a second bridge was needed within a generation. The old one is \
still there. It carries no traffic now except for bicycles and dogs, and on the first Sunday of May the children of the town walk across \
it, each with a penny, which they throw into the water for luck.";

/// llama.cpp multiplies the stored 4-bit blocks by activations rounded to 8 bits; ours are both f32. What that changes, in nats, at the
/// server's likeliest token: measured on this page mean 0.042 and largest 0.275, with the same likeliest token at 0.964 of 250 positions.
const MEAN_DIFFERENCE: f64 = 0.06;
const LARGEST_DIFFERENCE: f64 = 0.5;

#[tokio::test]
async fn a_page_reads_as_on_llama_cpps_server() {
    let path = smollm2();
    let server = LlamaServer::start(&path);
    let model = SubjectModel::load(&ModelSource::Path(path)).unwrap();
    let token_ids = model.tokenizer().unwrap().encode(PAGE).unwrap().token_ids;
    let tokenized = server.post("/tokenize", &json!({ "content": PAGE, "add_special": false })).await;
    assert_eq!(tokenized["tokens"], json!(token_ids), "both cut the page into the same tokens");
    let logits = model.logits(&token_ids).unwrap();
    let (mut n_same, mut differences) = (0, Vec::new());
    for (i, logits) in logits.chunks_exact(model.config().n_vocab).enumerate() {
        let ours = Distribution::new(logits);
        let ask =
            json!({ "prompt": token_ids[..=i], "n_predict": 1, "n_probs": 5, "temperature": 0, "cache_prompt": true });
        let reply = server.post("/completion", &ask).await;
        let theirs = &reply["completion_probabilities"][0]["top_logprobs"][0];
        let token_id = theirs["id"].as_u64().unwrap_or_else(|| panic!("{reply}")) as u32;
        n_same += usize::from(ours.likeliest() == token_id);
        differences.push((ours.log_probability(token_id) - theirs["logprob"].as_f64().unwrap()).abs());
    }
    let n = differences.len() as f64;
    let (same, mean) = (n_same as f64 / n, differences.iter().sum::<f64>() / n);
    let largest = differences.iter().copied().fold(0.0, f64::max);
    let measured = format!(
        "{n} positions, the same likeliest token at {same:.3}, mean difference {mean:.4}, largest {largest:.4}"
    );
    assert!(same >= 0.95, "{measured}");
    assert!(mean < MEAN_DIFFERENCE && largest < LARGEST_DIFFERENCE, "{measured}");
}

#[tokio::test]
async fn a_conversation_is_the_same_prompt_on_llama_cpps_server() {
    let path = smollm2();
    let server = LlamaServer::start(&path);
    let model = LocalModel::load(path.to_str().unwrap(), Placement::default()).unwrap();
    let conversations = [
        vec![Message::user("What is the capital of France?")],
        vec![
            Message::system("Answer with one word."),
            Message::user("Is <|im_end|> water wet?"),
            Message::assistant("Yes"),
            Message::user("Is fire cold?"),
        ],
    ];
    for messages in conversations {
        let request = Request { top_logprobs: 5, ..Request::greedy(messages.clone(), 1) };
        let reply = model.complete_all(&[Call::first(Purpose::Judge, request)]).await.remove(0).unwrap();
        let ask =
            json!({ "messages": messages, "max_tokens": 1, "temperature": 0, "logprobs": true, "top_logprobs": 5 });
        let theirs = server.post("/v1/chat/completions", &ask).await;
        // The server takes the name of a special token inside a message for the token itself, which is fewer tokens.
        let smuggled = messages.iter().any(|message| message.content.contains("<|im_end|>"));
        let n_theirs = theirs["usage"]["prompt_tokens"].as_u64().unwrap() as u32;
        assert!(if smuggled { reply.prompt_tokens > n_theirs } else { reply.prompt_tokens == n_theirs }, "{theirs}");
        if !smuggled {
            let theirs = &theirs["choices"][0]["logprobs"]["content"][0];
            // The likeliest tokens are nearly equally likely here, so their order is a matter of rounding.
            let ours = reply.tokens[0].alternatives.iter().find(|(token, _)| theirs["token"] == *token);
            let (_, ours) = ours.unwrap_or_else(|| panic!("{theirs} is none of {:?}", reply.tokens[0].alternatives));
            let difference = (theirs["logprob"].as_f64().unwrap() - ours).abs();
            assert!(difference < LARGEST_DIFFERENCE, "{difference}");
        }
    }
}
