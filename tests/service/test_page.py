"""The web page in a real browser, also with the keyboard, on a phone and in dark mode."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from fixtures_browser import Server, opened_page, too_faint
from fixtures_toy import plain, toy_recognizer, with_joint_embedding

from anytag.library.photo_library import Library


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return toy_recognizer(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def photos(tmp_path_factory, recognizer):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("red", "lime", "blue"):
        plain(name, (200, 120)).save(folder / f"{name}.png")
    plain("red", (200, 120)).save(folder / "<img src=x onerror=alert(1)>.png")
    Library(folder, recognizer).update()
    return folder


@pytest.fixture(scope="module")
def server(recognizer, photos):
    running = Server(recognizer, library=photos, max_picture_bytes=100_000)
    yield running
    running.stop()


@pytest.fixture
def page(browser, server, request):
    with opened_page(browser, server.url, request.node.name, getattr(request, "param", {})) as opened:
        yield opened


def upload(page, *paths):
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_selector("#tags button")


def chips(page, where="#tags"):
    return page.locator(f"{where} button").evaluate_all("all => all.map(one => one.dataset.name)")


def test_a_picture_gives_chips_with_scores_and_a_caption(page, photos):
    upload(page, photos / "red.png")
    assert chips(page) == ["red", "animal", "dog"]
    assert page.locator("#tags button").all_inner_texts() == [
        "red 1.00 attribute",
        "animal 0.70 object",
        "dog 0.60 object",
    ]
    assert page.locator("#caption").inner_text().startswith("a picture of")
    assert page.locator("#picture").get_attribute("alt").startswith("a picture of")


def test_pressing_chips_steers_the_caption(page, photos):
    upload(page, photos / "red.png")
    page.click("#tags button:has-text('dog')")
    page.wait_for_selector("#covered:has-text('asked to mention dog')")
    assert page.locator("#tags button:has-text('dog')").get_attribute("aria-pressed") == "true"
    assert page.locator("#caption").inner_text() == "a picture of dog"
    page.fill("#words", "beach")
    page.press("#words", "Enter")
    page.wait_for_selector("#covered:has-text('dog, beach')")
    page.fill("#words", "unicorn")
    page.press("#words", "Enter")
    page.wait_for_selector("#covered:has-text('it leaves out unicorn')")


def test_the_threshold(page, photos):
    upload(page, photos / "red.png")
    page.locator("#threshold").fill("65")
    page.wait_for_selector("#threshold-value:has-text('0.65')")
    page.wait_for_function("() => document.querySelectorAll('#tags button').length === 2")
    assert chips(page) == ["red", "animal"]
    # The next picture is held against the same threshold.
    page.set_input_files("#files", str(photos / "lime.png"))
    page.wait_for_function("() => document.querySelector('#picture').alt.includes('beach')")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#tags button small')].every(one => parseFloat(one.textContent) >= 0.65)"
    )
    page.locator("#threshold").fill("0")
    page.wait_for_selector("#threshold-value:has-text('their own thresholds')")


def test_any_category(page, photos):
    upload(page, photos / "lime.png")
    page.fill("#categories", 'kart, "sea shore",, "rock, ""paper""" , a "b" c')
    page.press("#categories", "Enter")
    page.wait_for_selector("#found button")
    assert chips(page, "#found") == ["kart", "sea shore", 'rock, "paper"', 'a "b" c']
    assert [text.split()[-1].replace(".", "").isdigit() for text in page.locator("#found button").all_inner_texts()]


def test_where_a_tag_is_seen(page, photos):
    upload(page, photos / "red.png")
    page.hover("#tags button:has-text('dog')")
    page.wait_for_selector("#heat.on")
    box = page.locator("#heat").bounding_box()
    assert box["width"] == pytest.approx(page.locator("#picture").bounding_box()["width"], abs=2)
    page.mouse.move(0, 0)
    page.wait_for_selector("#heat:not(.on)", state="attached")


def test_several_pictures(page, photos):
    page.set_input_files("#files", [str(photos / f"{name}.png") for name in ("red", "lime", "blue")])
    page.wait_for_selector("#strip button:nth-child(3)")
    page.wait_for_selector("#status:has-text('3 pictures')")
    page.click("#strip button:nth-child(1)")
    assert chips(page) == ["red", "animal", "dog"]
    assert page.locator("#strip button:nth-child(1)").get_attribute("aria-selected") == "true"


def test_of_several_pictures_those_that_fail_are_named(page, photos, tmp_path):
    bad = [tmp_path / "notes.png", tmp_path / "empty.png"]
    bad[0].write_text("no picture")
    bad[1].write_bytes(b"")
    page.set_input_files("#files", [str(path) for path in (photos / "red.png", *bad, photos / "lime.png")])
    page.wait_for_selector("#status.bad:has-text('2 pictures')")
    assert page.locator("#status").inner_text().count("notes.png") == 1
    assert "empty.png: " in page.locator("#status").inner_text()
    assert page.locator("#strip button").count() == 2


def test_pasting_and_dropping(page):
    out = io.BytesIO()
    plain("red").save(out, "PNG")
    give = """([bytes, kind]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], "given.png", {type: "image/png"}));
      const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
                                     : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
      document.body.dispatchEvent(event);
    }"""
    for kind in ("paste", "drop"):
        page.reload()
        page.evaluate(give, [list(out.getvalue()), kind])
        page.wait_for_selector("#tags button:has-text('dog')")


def test_copy_as_json(page, photos):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upload(page, photos / "red.png")
    page.click("#copy")
    page.wait_for_selector("#copy:has-text('Copied')")
    record = json.loads(page.evaluate("() => navigator.clipboard.readText()"))
    assert [tag["name"] for tag in record["tags"]] == ["red", "animal", "dog"]


def test_copying_where_the_browser_has_no_clipboard(page, photos):
    """Browsers have no clipboard API at http addresses of the local network."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upload(page, photos / "lime.png")
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    page.click("#copy")
    page.wait_for_selector("#copy:has-text('Copied')")
    assert page.evaluate("() => document.activeElement.id") == "copy"
    page.evaluate("() => delete navigator.clipboard")
    record = json.loads(page.evaluate("() => navigator.clipboard.readText()"))
    assert record["tags"][0]["name"] in chips(page)
    assert page.locator("textarea").count() == 0
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
    page.click("#copy")
    page.wait_for_selector("#copy:has-text('does not allow it')")


def test_the_library(page, photos):
    page.wait_for_selector("#show-library:not([hidden])")
    page.click("#show-library")
    page.wait_for_selector("#facets button:has-text('animal')")
    assert page.locator("#search-status").inner_text() == "4 pictures, the newest first. Press a tag, or type."
    assert page.locator("#hits figure").count() == 4
    page.fill("#query", "dog")
    page.press("#query", "Enter")
    page.wait_for_selector("#search-status:has-text('2 of 2 pictures')")
    assert page.locator("#hits figure").count() == 2
    assert "dog 0.60" in page.locator("#hits figure").nth(0).inner_text()
    page.wait_for_function("() => [...document.querySelectorAll('#hits img')].every(one => one.naturalWidth > 0)")
    # A file's name is text, whatever stands in it.
    assert page.locator("#hits").inner_text().count("<img src=x onerror=alert(1)>.png") == 1
    page.fill("#query", '"dog')
    page.press("#query", "Enter")
    page.wait_for_selector("#search-status.bad:has-text('a quote is not closed')")


def test_the_library_by_a_sentence(browser, tmp_path):
    model = with_joint_embedding(toy_recognizer(tmp_path / "model"))
    model.recognize_blank = True
    (tmp_path / "photos").mkdir()
    for name in ("red", "lime", "aqua"):
        plain(name, (200, 120)).save(tmp_path / "photos" / f"{name}.png")
    Library(tmp_path / "photos", model).update()
    server = Server(model, library=tmp_path / "photos")
    with opened_page(browser, server.url, "sentence", {}) as page:
        page.click("#show-library")
        page.wait_for_selector("#hits figure")
        page.check("#sentence")
        assert page.locator("#query").get_attribute("placeholder") == "a child on a swing"
        page.fill("#query", "a beach")
        page.press("#query", "Enter")
        page.wait_for_selector("#hits figure:first-child:has-text('lime.png')")
        assert "beach 0.50, the sentence 1.00" in page.locator("#hits figure").first.inner_text()
        page.click("#facets button:has-text('beach')")
        page.wait_for_selector("#search-status:has-text('2 of 2')")
        assert not page.locator("#sentence").is_checked()
        assert page.locator("#query").input_value() == '"beach"'
    server.stop()


def test_with_the_keyboard_alone(page, photos):
    upload(page, photos / "red.png")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.dataset.name") == "dog":
            break
    else:
        pytest.fail("the chip cannot be reached")
    page.wait_for_selector("#heat.on")
    page.keyboard.press("Enter")
    page.wait_for_selector("#covered:has-text('asked to mention dog')")
    assert page.evaluate("() => document.activeElement.dataset.name") == "dog"


PHONE = {"viewport": {"width": 380, "height": 760}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_on_a_phone(page, photos):
    assert page.locator("label.camera").is_visible()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    page.set_input_files("#camera", str(photos / "red.png"))
    page.wait_for_selector("#tags button")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 380
    page.click("#show-library")
    page.wait_for_selector("#hits figure")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 380


@pytest.mark.parametrize(
    "page",
    [{"color_scheme": scheme, **size} for scheme in ("light", "dark") for size in ({}, PHONE)],
    indirect=True,
    ids=["light", "light-phone", "dark", "dark-phone"],
)
def test_contrast(page, photos, tmp_path):
    """WCAG 2.2 AA, 1.4.3: all text is readable, opacity and placeholders included."""
    assert too_faint(page) == []
    upload(page, photos / "red.png")
    page.click("#tags button:has-text('dog')")
    page.wait_for_selector("#covered:has-text('asked to mention dog')")  # From then on nothing is drawn anew.
    page.fill("#categories", "kart")
    page.press("#categories", "Enter")
    page.wait_for_selector("#found button")
    (tmp_path / "notes.png").write_text("no picture")
    page.set_input_files("#files", str(tmp_path / "notes.png"))
    page.wait_for_selector("#status.bad")
    assert too_faint(page) == []
    page.click("#show-library")
    page.wait_for_selector("#hits figure")
    assert too_faint(page) == []
    page.click("#hits button")
    page.wait_for_selector("#editor[open]")
    assert too_faint(page, "#editor") == []


def test_what_goes_wrong_is_said(page, photos, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    page.set_input_files("#files", str(tmp_path / "notes.png"))
    page.wait_for_selector("#status.bad:has-text('notes.png')")
    (tmp_path / "large.png").write_bytes(b"x" * 100_001)
    page.set_input_files("#files", str(tmp_path / "large.png"))
    page.wait_for_selector("#status.bad:has-text('more than 100,000 bytes')")
    page.route("**/v1/caption", lambda route: route.fulfill(status=429, json={"error": {"kind": "overloaded"}}))
    page.set_input_files("#files", str(photos / "red.png"))
    page.wait_for_selector("#status.bad:has-text('The server is busy')")
    page.unroute("**/v1/caption")
    page.route("**/v1/caption", lambda route: route.abort())
    page.set_input_files("#files", str(photos / "lime.png"))
    page.wait_for_selector("#status.bad:has-text('The server does not answer')")


def test_a_picture_beyond_all_limits(page, tmp_path):
    """The server answers before it has received everything; browsers must still read the answer."""
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(150_000_000)
    page.set_input_files("#files", str(tmp_path / "huge.png"))
    page.wait_for_selector("#status.bad:has-text('bytes')", timeout=30_000)


def test_a_server_that_is_gone(browser, recognizer, photos):
    server = Server(recognizer, library=photos)
    with opened_page(browser, server.url, "gone", {}) as page:
        upload(page, photos / "red.png")
        page.click("#show-library")
        page.wait_for_selector("#hits figure")
        server.stop()
        page.fill("#query", "dog")
        page.press("#query", "Enter")
        page.wait_for_selector("#search-status.bad:has-text('The server does not answer')")
        page.click("#hits button")
        page.wait_for_selector("#search-status.bad:has-text('The server does not answer')")
        page.click("#show-pictures")
        page.click("#tags button:has-text('dog')")
        page.wait_for_selector("#status.bad:has-text('The server does not answer')")
        page.fill("#categories", "kart")
        page.press("#categories", "Enter")
        page.locator("#threshold").fill("50")
        assert chips(page) == ["red", "animal", "dog"]
        page.set_input_files("#files", str(photos / "lime.png"))
        page.wait_for_selector("#status.bad:has-text('The server does not answer')")


def test_tags_and_captions_are_never_html(page, photos):
    """A model's tags and captions are never parsed as HTML: a dialog of the browser would fail the test."""
    evil = "<img src=x onerror=alert(1)>"
    tag = {"name": evil, "score": 0.9, "kind": evil, "threshold": 0.5}
    seen = {"path": evil, "tags": [tag], "caption": f"{evil}<script>alert(2)</script>", "given": [evil], "covered": []}
    reason = {"name": evil, "score": 1, "where": "object"}
    hit = {"id": 1, "path": evil, "score": 1, "caption": evil, "reasons": [reason]}
    found = {"total": 1, "hits": [hit], "facets": [{"name": evil, "count": 1}], "unknown": [evil]}
    page.route("**/v1/caption", lambda route: route.fulfill(json=seen))
    page.route("**/v1/tag", lambda route: route.fulfill(json=seen))
    page.route("**/v1/search*", lambda route: route.fulfill(json=found))
    upload(page, photos / "red.png")
    page.click("#tags button")
    page.wait_for_selector("#covered:has-text('asked to mention')")
    page.fill("#categories", "dog")
    page.press("#categories", "Enter")
    page.wait_for_selector("#found button")
    assert page.locator("#caption").inner_text() == seen["caption"]
    assert page.locator("#detail img").count() == 1
    page.click("#show-library")
    page.fill("#query", "dog")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits figure")
    assert page.locator("#hits img").count() == 1
    assert page.locator("#facets img, main script").count() == 0
    page.route("**/v1/caption", lambda route: route.fulfill(status=422, json={"error": {"message": evil}}))
    page.click("#show-pictures")
    page.set_input_files("#files", str(photos / "lime.png"))
    page.wait_for_selector("#status.bad:has-text('onerror')")
    assert page.locator("#status img").count() == 0


def test_a_key_is_asked_for(browser, recognizer, photos):
    server = Server(recognizer, api_keys=("secret",), library=photos)
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#key:not([hidden])")
    page.once("dialog", lambda dialog: dialog.accept("secret"))
    page.click("#key")
    upload(page, photos / "red.png")
    assert chips(page) == ["red", "animal", "dog"]
    page.click("#show-library")
    page.wait_for_selector("#hits figure")
    context.close()
    server.stop()


def test_the_page_is_light():
    from anytag.service import app

    folder = Path(app.__file__).parent / "page"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 150_000
