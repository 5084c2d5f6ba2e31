//! Templates of published kinds, and what no template gives.

use super::*;

fn render(template: Option<&str>, messages: &[Message]) -> Result<String> {
    ChatTemplate::new(template.map(str::to_owned), "<s>".to_owned(), "</s>".to_owned(), "m")?.render(messages)
}

/// A template in ChatML, with a frame of its own where the conversation has none.
const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nFrame<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn a_template_is_rendered_up_to_the_models_turn() {
    let text = render(Some(CHATML), &[Message::user("Hi"), Message::assistant("Yes?"), Message::user("Bye")]).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nFrame<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n\
         <|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn python_methods_and_helpers_work() {
    let template = "{{ bos_token }}{%- set ns = namespace(n=0) -%}\n{% for m in messages %}\n    {% set ns.n = ns.n + 1 %}\n\
                    {{ m.content.strip().upper() | trim }}{{ ns.n }}|{% if ns.n == 2 %}{% break %}{% endif %}{% endfor %}\n\
                    {% if tools is defined %}{{ tools | tojson }}{% endif %}{{ strftime_now('%d %b %Y') }}{{ eos_token }}";
    let text = render(Some(template), &[Message::user(" a "), Message::user("b"), Message::user("c")]).unwrap();
    assert_eq!(text, "<s>A1|B2|26 Jul 2024</s>");
}

#[test]
fn a_refused_system_turn_moves_into_the_users() {
    let template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}\
                    [{{ m.role }}] {{ m.content }}{% endfor %}";
    let text = render(Some(template), &[Message::system("Frame"), Message::user("Hi")]).unwrap();
    assert_eq!(text, "[user] Frame\n\nHi");
    let error = render(Some(template), &[Message::user("a"), Message::system("b")]).unwrap_err().to_string();
    assert!(error.contains("no system turn"), "{error}");
}

#[test]
fn a_template_that_is_none_is_refused() {
    let error = render(Some("{% for %}"), &[]).unwrap_err().to_string();
    assert!(error.starts_with("model file 'm': chat template: "), "{error}");
}

#[test]
fn without_a_template_turns_are_named() {
    let messages = [Message::system("Frame"), Message::user("Hi")];
    assert_eq!(render(None, &messages).unwrap(), "Frame\n\nUser: Hi\n\nAssistant:");
}
