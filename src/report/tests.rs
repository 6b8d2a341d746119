use super::*;

/// Two classes, one of them with a name that would be markup, and one mistake.
fn answers() -> Vec<Answer> {
    let answer = |path: &str, truth, second: f32| Answer {
        path: path.to_owned(),
        truth,
        probabilities: vec![1.0 - second, second],
    };
    vec![answer("a/1.jpg", 0, 0.1), answer("a/<img src=x onerror=alert(1)>.jpg", 0, 0.75), answer("b/2.jpg", 1, 0.9)]
}

fn html(learning_curves: Option<&str>) -> String {
    let (answers, names) = (answers(), ["cat".to_owned(), "<b>dog</b> & co".to_owned()]);
    let evaluation = Evaluation::new(&names, &answers, 10).unwrap();
    let thumbnails = [Some(Thumbnail {
        photograph: "data:image/jpeg;base64,AAAA".into(),
        heat: "data:image/jpeg;base64,BBBB".into(),
    })];
    let report = Report {
        model: "model",
        data: "some data",
        split: "test",
        views: Views::Plain,
        evaluation: &evaluation,
        answers: &answers.iter().collect::<Vec<_>>(),
        unreadable: &[("c/3.jpg", "truncated")],
        thumbnails: &thumbnails,
        learning_curves,
        rejection: None,
        audit: None,
    };
    report.html()
}

#[test]
fn the_page_holds_figures_mistakes_and_every_prediction() {
    let html = html(None);
    for part in ["66.67 %", "20.77 to 93.85 %", "2 of 3 right", "AAAA", "BBBB", "c/3.jpg", "truncated", "75.00 %"] {
        assert!(html.contains(part), "no `{part}` in {html}");
    }
    assert_eq!(html.matches("<tr data-wrong").count(), 1);
    assert_eq!(html.matches("data-value=").count(), 3);
}

#[test]
fn names_are_text_and_never_markup() {
    let html = html(None);
    assert!(!html.contains("<img src=x") && !html.contains("<b>dog"));
    assert!(html.contains("&lt;b&gt;dog&lt;/b&gt; &amp; co"));
}

#[test]
fn the_page_asks_for_nothing_outside_itself() {
    let html = html(Some("<svg xmlns='http://www.w3.org/2000/svg'/>"));
    for attribute in ["src=\"", "href=\""] {
        for value in html.split(attribute).skip(1) {
            assert!(value.starts_with("data:"), "{}", &value[..value.len().min(60)]);
        }
    }
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("@import") && !html.contains("url("));
    assert!(html.contains("Learning curves"));
}
