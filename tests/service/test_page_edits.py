"""Edits of a photo's tags on the web page, in a real browser, also with the keyboard, on a phone and in dark mode."""

from __future__ import annotations

import pytest
from fixtures_browser import Server, opened_page, too_faint
from fixtures_toy import plain, toy_recognizer

from anytag.library.photo_library import Library


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return toy_recognizer(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def photos(tmp_path, recognizer):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "lime"):
        plain(name, (200, 120)).save(folder / f"{name}.png")
    Library(folder, recognizer).update(captions=True)
    return folder


@pytest.fixture
def page(browser, recognizer, photos, request):
    options = dict(getattr(request, "param", {}))
    server = Server(recognizer, library=photos, allow_edits=options.pop("allow_edits", True))
    try:
        with opened_page(browser, server.url, request.node.name, options) as opened:
            opened.wait_for_selector("#show-library:not([hidden])")
            opened.click("#show-library")
            opened.fill("#query", "path:red")
            opened.press("#query", "Enter")
            opened.wait_for_selector("#search-status:has-text('1 of 1')")
            yield opened
    finally:
        server.stop()


def open_editor(page):
    page.click("#hits button")
    page.wait_for_selector("#editor[open]")


def names(page, where):
    return page.locator(f"{where} button").evaluate_all("chips => chips.map(chip => chip.dataset.name)")


def add(page, text):
    page.fill("#new-tag", text)
    page.press("#new-tag", "Enter")


def test_tags_of_people_are_added_and_saved(page, photos):
    open_editor(page)
    assert names(page, "#ours") == ["red", "animal", "dog"]
    assert page.locator("#people").inner_text() == "None yet."
    add(page, "Grandma, our garden, grandma")
    assert names(page, "#people") == ["Grandma", "our garden"]
    page.click("#ours button:has-text('dog')")
    assert page.locator("#ours button.refused").inner_text() == "dog 0.60"
    assert page.locator("#editor-status").inner_text() == "Not saved yet."
    assert not list(photos.glob("*.xmp"))
    page.click("#save")
    page.wait_for_selector("#editor-status:has-text('Saved in red.png.xmp.')")
    text = (photos / "red.png.xmp").read_text()
    assert "<rdf:li>Grandma</rdf:li>" in text
    assert "<anytag:Refused><rdf:Bag><rdf:li>dog</rdf:li>" in text
    page.click("#close")
    page.fill("#query", "grandma")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits figcaption:has-text('Grandma, given by people')")


def test_what_was_typed_is_saved_too_and_may_be_taken_back(page, photos):
    open_editor(page)
    page.fill("#new-tag", "Grandma")
    page.click("#save")
    page.wait_for_selector("#editor-status:has-text('Saved in')")
    assert page.locator("#save").is_disabled()
    page.click("#people button")
    assert page.locator("#people").inner_text() == "None yet."
    page.click("#save")
    page.wait_for_selector("#editor-status:has-text('Saved in')")
    assert "Grandma" not in (photos / "red.png.xmp").read_text()


def test_with_the_keyboard_alone(page, photos):
    page.focus("#query")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.closest('#hits') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#editor[open]")
    # The field for new tags has the focus, and nothing behind the dialog can be reached.
    page.keyboard.type("Grandma")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for _ in range(20):
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.matches('body, #editor *')")
        if page.evaluate("() => document.activeElement.dataset.name") == "dog":
            break
    page.keyboard.press("Space")
    assert page.evaluate("() => document.activeElement.dataset.name") == "dog"
    assert page.locator("#ours button.refused").count() == 1
    page.keyboard.press("Escape")
    page.wait_for_selector("#editor-status:has-text('Press Escape again')")
    page.focus("#save")
    page.keyboard.press("Enter")
    page.wait_for_selector("#editor-status:has-text('Saved in')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#editor:not([open])", state="attached")
    page.wait_for_function("() => document.activeElement.closest('#hits') !== null")
    assert "Grandma" in (photos / "red.png.xmp").read_text()


def test_a_thumbnail_that_loads_late(page):
    """The editor opens before its thumbnail is loaded, and shows it afterwards."""
    held = []
    page.route("**/thumbnail", lambda route: held.append(route))
    page.evaluate("() => search()")
    page.wait_for_function("() => !document.querySelector('#hits img').getAttribute('src')")
    open_editor(page)
    assert not page.locator("#editor-picture").is_visible()
    for route in held:
        route.continue_()
    page.wait_for_function("() => document.querySelector('#editor-picture').naturalWidth > 0")
    assert page.locator("#editor-picture").is_visible()


def test_discarding(page, photos):
    open_editor(page)
    add(page, "Grandma")
    page.click("#close:has-text('Discard')")
    assert not list(photos.glob("*.xmp"))
    open_editor(page)
    assert page.locator("#people").inner_text() == "None yet."


def test_tags_are_never_html(page, photos):
    """No tag and no caption is ever parsed as HTML: a dialog of the browser would fail the test."""
    evil = "<img src=x onerror=alert(1)>"
    open_editor(page)
    add(page, evil)
    add(page, "<script>alert(2)</script>")
    page.click("#save")
    page.wait_for_selector("#editor-status:has-text('Saved in')")
    assert names(page, "#people") == [evil, "<script>alert(2)</script>"]
    assert page.locator("#editor img").count() == 1
    page.click("#close")
    page.fill("#query", '"onerror"')
    page.press("#query", "Enter")
    page.fill("#query", "path:red")
    page.press("#query", "Enter")
    page.wait_for_selector("#facets button:has-text('onerror')")
    assert page.locator("#facets img, #hits script, #editor script").count() == 0
    assert "&lt;script&gt;" in (photos / "red.png.xmp").read_text()


def test_a_concurrent_edit_is_not_overwritten(page, photos, recognizer):
    open_editor(page)
    add(page, "Grandma")
    library = Library(photos, recognizer)
    library.edit(library.search("path:red").hits[0].number, ["Grandpa"])
    page.click("#save")
    page.wait_for_selector("#editor-status.bad:has-text('was changed by somebody else')")
    assert names(page, "#people") == ["Grandma"]
    assert "Grandma" not in (photos / "red.png.xmp").read_text()


@pytest.mark.parametrize("page", [{"allow_edits": False}], indirect=True, ids=["reading"])
def test_where_nothing_may_be_changed(page):
    open_editor(page)
    assert names(page, "#ours") == ["red", "animal", "dog"]
    assert page.locator("#editor-status").inner_text() == "To change tags, start the server with --allow-edits."
    assert not page.locator("#save").is_visible()
    assert not page.locator("#new-tag").is_visible()
    assert page.locator("#ours button").nth(0).is_disabled()
    page.keyboard.press("Escape")
    page.wait_for_selector("#editor:not([open])", state="attached")


@pytest.mark.parametrize(
    "page",
    [
        {"viewport": {"width": 380, "height": 760}, "color_scheme": "dark"},
        {"viewport": {"width": 1200, "height": 800}, "color_scheme": "light"},
    ],
    indirect=True,
    ids=["phone-dark", "desk-light"],
)
def test_it_can_be_read_on_a_phone_and_in_the_dark(page):
    width = page.viewport_size["width"]
    open_editor(page)
    add(page, "Grandma, " + "a very long tag that goes on and on " * 4)
    page.click("#ours button:has-text('dog')")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => document.getElementById('editor').scrollWidth") <= width
    assert too_faint(page, "#editor") == []
