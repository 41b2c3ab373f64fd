"""The search page in a real browser, as a person uses it. Skipped where Debian's chromium is not installed."""
import io
import shutil
import time

import numpy as np
import pytest
from PIL import Image
from serving_cases import NAUGHTY, Server

from caffe_cases import images_of

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed "
                                "(third_party/apt-packages-test.txt): the page is not tried in a browser")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--window-size=1280,1000")
PATIENCE_S = 30


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver  # only where there is a browser
    from selenium.webdriver.chrome.service import Service
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page of one server. `js` runs an expression in it."""

    def __init__(self, browser, server):
        self.browser, self.server = browser, server

    def js(self, expression, *arguments):
        return self.browser.execute_script(f"return {expression}", *arguments)

    def open(self, address=""):
        self.browser.get(f"{self.server.address}/{address}")
        return self.settled()

    def until(self, expression, *arguments):
        """The value of an expression as soon as it is true."""
        ends = time.monotonic() + PATIENCE_S
        while not (value := self.js(expression, *arguments)):
            assert time.monotonic() < ends, f"{expression} has not come true; {self.fault()}"
            time.sleep(0.02)
        return value

    def settled(self):
        """No question is on its way and an answer is there, or a sentence says why not."""
        time.sleep(0.1)
        self.until("!document.body.classList.contains('waiting') && "
                   "(document.querySelector('.card') !== null || !document.getElementById('fault').hidden)")
        return self

    def fault(self):
        return self.js("document.getElementById('fault').hidden ? '' : document.getElementById('fault').textContent")

    def click(self, selector):
        self.js("document.querySelector(arguments[0]).click()", selector)
        return self.settled()

    def rows(self, column):
        return self.js(f"[...document.querySelectorAll('#cards-{column} .card')].map(c => +c.dataset.row)")

    def text(self, selector):
        return self.js("document.querySelector(arguments[0]).innerText", selector)

    def shown(self, selector):
        return self.js("document.querySelector(arguments[0]).checkVisibility()", selector)

    @property
    def query(self):
        return self.js("location.search")

    def move(self, T):
        self.move_unanswered(T)
        self.until("document.getElementById('T-shown').value === String(arguments[0])", T)
        time.sleep(0.2)
        return self.settled()

    def move_unanswered(self, T):
        """T moved where no answer will come."""
        self.js("(() => { const t = document.getElementById('T'); t.value = arguments[0]; "
                "t.dispatchEvent(new Event('input')) })()", T)

    def type(self, text):
        from selenium.webdriver.common.action_chains import ActionChains  # only where there is a browser
        ActionChains(self.browser).send_keys(text).perform()
        return self


@pytest.fixture
def page(browser, server):
    browser.get("about:blank")
    browser.get_log("browser")
    yield Page(browser, server)
    told = [entry["message"] for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
    faults = [line for line in told if "Content Security Policy" in line or "Uncaught" in line]
    assert faults == []
    assert browser.title != "broken"


@pytest.fixture
def photo(tmp_path):
    """A new image file of the small problem."""
    path = tmp_path / "new photo.png"
    Image.fromarray(np.ascontiguousarray(np.moveaxis(images_of(8, 77)[0][1], 0, 2))).save(path)
    return path


def answer(server, query, body=b""):
    status, found = server.search(query, body)
    assert status == 200
    return {name: [result["row"] for result in lists["results"]] for name, lists in found["searches"].items()} | \
        {"T": found["T"], "pool": found["pool"], "of": found["query"]["of"]}


def test_it_opens_with_an_answer_of_both_searches(page):
    page.open()
    expected = answer(page.server, "of=test/0")
    assert page.query == "?of=test/0"
    assert (page.rows("bcs"), page.rows("hdl")) == (expected["bcs"], expected["hdl"])
    assert "60 images in the database, codes of 8 bits" in page.text("#about")
    assert page.js("document.querySelectorAll('#bits i').length") == 8
    assert f"{expected['pool']} of 60" in page.text("#pool-size")
    assert "codes (coarse)" in page.text("#times")
    assert page.fault() == ""


def test_every_picture_is_there_and_says_what_it_shows(page):
    page.open("?of=train/3")
    page.until("[...document.images].filter(i => i.checkVisibility()).every(i => i.complete)")
    pictures = page.js("[...document.querySelectorAll('#view-search img')].map(i => [i.naturalWidth, i.alt])")
    assert len(pictures) == 21
    assert all(width == 36 and alt for width, alt in pictures)


def test_an_upload_is_answered_and_its_link_works_in_another_window(page, photo):
    page.open()
    page.browser.find_element("id", "file").send_keys(str(photo))
    page.until("location.search.startsWith('?of=upload/')")
    page.settled()
    expected = answer(page.server, "", photo.read_bytes())
    assert page.query == f"?of={expected['of']}"
    assert page.rows("hdl") == expected["hdl"]
    assert "PNG, 36 × 36" in page.text("#query-name")
    assert "net " in page.text("#times")
    link, first = page.query, page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    page.open(link)
    assert page.rows("hdl") == expected["hdl"]
    page.browser.close()
    page.browser.switch_to.window(first)


def test_a_click_asks_the_result_and_back_returns(page):
    page.open("?of=test/4")
    before, row = page.rows("hdl"), page.rows("hdl")[2]
    page.click("#cards-hdl .card:nth-child(3) a")
    assert page.query == f"?of=train/{row}"
    assert page.rows("bcs") == answer(page.server, f"of=train/{row}")["bcs"]
    page.browser.back()
    page.until("location.search === '?of=test/4'")
    assert page.settled().rows("hdl") == before
    page.browser.forward()
    page.until("location.search !== '?of=test/4'")
    assert page.settled().rows("bcs")[0] == answer(page.server, f"of=train/{row}")["bcs"][0]


def test_the_slider_moves_the_pool_and_the_address(page):
    page.open("?of=test/7")
    for T in (1, 8, 4):
        page.move(T)
        expected = answer(page.server, f"of=test/7&T={T}")
        assert page.query == f"?of=test/7&T={T}"
        assert f"{expected['pool']} of 60" in page.text("#pool-size")
        assert page.rows("hdl") == expected["hdl"]
    page.open("?of=test/7&T=2")
    assert page.js("document.getElementById('T').value") == "2"


def empty_query(server):
    """An image, uploaded, that is at least one bit away from every image of the database."""
    for seed in range(200):
        noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize((36, 36), Image.Resampling.NEAREST).save(buffer, "PNG")
        _, found = server.search("T=1", buffer.getvalue())
        if not found["pool"]:
            return found["query"]["of"]
    raise AssertionError("no image with an empty pool was found")


def test_an_empty_pool_is_explained(page):
    page.open(f"?of={empty_query(page.server)}&T=1")
    assert "The pool is empty" in page.text("#pool-empty")
    assert page.rows("hdl") == page.rows("bcs")
    page.click("#pool-empty a")
    assert not (page.shown("#pool-empty") and "The pool is empty" in page.text("#pool-empty"))
    assert not page.query.endswith("T=1")


def test_names_with_markup_are_text(page):
    page.open("?of=train/1")
    classes = page.js("[...document.querySelectorAll('.card .class')].map(c => c.textContent)")
    assert any(NAUGHTY in name for name in classes)
    page.click("#cards-bcs button")
    assert NAUGHTY in page.text("#original-facts")
    page.until("document.getElementById('original-picture').complete")
    assert page.js("document.getElementById('original-picture').naturalWidth") == 36
    page.js("document.getElementById('original').close()")
    assert page.js("document.querySelectorAll('[onerror]').length") == 0


def test_pointing_shows_the_bits_that_differ(page):
    page.open("?of=test/2&k=20")
    _, found = page.server.search("of=test/2&k=20")
    far = found["searches"]["bcs"]["results"][-1]
    from selenium.webdriver.common.action_chains import ActionChains  # only where there is a browser
    last = page.browser.find_element("css selector", "#cards-bcs .card:last-child")
    page.js("arguments[0].scrollIntoView()", last)
    ActionChains(page.browser).move_to_element(last).perform()
    page.until("document.querySelectorAll('#bits .differs').length === arguments[0]", far["hamming"])
    assert page.js("document.querySelectorAll('.card.same-image').length") >= 1


def test_keys(page):
    page.open("?of=test/5&T=4")
    page.type("]")
    page.until("location.search === '?of=test/5&T=5'")
    page.settled().type("[[")
    page.until("location.search === '?of=test/5&T=3'")
    page.settled()
    from selenium.webdriver.common.keys import Keys  # only where there is a browser
    page.type(Keys.ARROW_DOWN).type(Keys.ARROW_RIGHT)
    assert page.js("document.activeElement.closest('.card').dataset.row") == str(page.rows("bcs")[1])
    page.type("o")
    assert page.js("document.getElementById('original').open")
    page.type(Keys.ESCAPE)
    page.until("!document.getElementById('original').open")
    row = page.rows("bcs")[1]
    page.type(Keys.ENTER)
    page.until("location.search.startsWith(`?of=train/${arguments[0]}`)", row)


@pytest.mark.parametrize("name, data, words", [
    ("paper.pdf", b"%PDF-1.4 ...", "A PDF is not an image"),
    ("half.jpg", None, "cut short"),
    ("huge.png", b"0" * (20 * 2 ** 20 + 1), "20 MB are the most"),
], ids=["PDF", "cut short", "too large"])
def test_what_is_no_image_is_a_sentence_on_the_page(page, tmp_path, name, data, words):
    if data is None:
        buffer = io.BytesIO()
        Image.effect_noise((90, 90), 99).save(buffer, "JPEG")
        data = buffer.getvalue()[:-500]
    (tmp_path / name).write_bytes(data)
    page.open("?of=test/1")
    before = page.rows("hdl")
    page.browser.find_element("id", "file").send_keys(str(tmp_path / name))
    page.until("!document.getElementById('fault').hidden")
    assert words in page.fault()
    assert page.rows("hdl") == before


def test_a_link_that_leads_nowhere_is_a_sentence(page):
    page.open("?of=train/999")
    assert "no image 999" in page.fault()


def test_it_fits_a_phone(page):
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                 {"width": 375, "height": 740, "deviceScaleFactor": 2, "mobile": True})
    try:
        for address in ("?of=test/3", "?view=map", "?view=run"):
            page.open(address)
            assert page.js("document.documentElement.scrollWidth") <= 375
        page.open("?of=test/3")
        left, right = (page.js(f"document.getElementById('column-{name}').getBoundingClientRect().toJSON()")
                       for name in ("bcs", "hdl"))
        assert left["right"] <= right["left"]
        assert left["top"] == right["top"]
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_and_light(page):
    seen = []
    for scheme in ("light", "dark"):
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                     {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        page.open()
        seen.append(page.js("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"))
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert seen[0][0] == "rgb(255, 255, 255)"
    assert sum(map(int, seen[1][0][4:-1].split(","))) < 150 < 600 < sum(map(int, seen[1][1][4:-1].split(",")))


def test_the_map_draws_all_images_and_a_line_around_them_chooses(page):
    from selenium.webdriver.common.action_chains import ActionChains  # only where there is a browser
    page.open("?view=map&of=train/1")
    page.until("document.getElementById('map-note').textContent.startsWith('60 of 60')")
    canvas = page.browser.find_element("id", "map")
    drawn = page.js("arguments[0].getContext('2d').getImageData(0, 0, arguments[0].width, arguments[0].height).data"
                    ".filter((value, i) => i % 4 === 3 && value > 0).length", canvas)
    assert drawn > 60
    page.js("arguments[0].scrollIntoView()", canvas)
    side = page.js("Math.min(arguments[0].clientWidth, arguments[0].clientHeight) / 2 - 3", canvas)
    wide = page.js("arguments[0].clientWidth / 2", canvas)
    corner = ActionChains(page.browser).move_to_element_with_offset(canvas, -wide + 2, -side).click_and_hold()
    for x, y in ((2 * side, 0), (0, 2 * side), (-2 * side, 0)):
        corner = corner.move_by_offset(int(x), int(y))
    corner.release().perform()
    assert "60 images" in page.until("document.getElementById('map-chosen').innerText")
    page.click("#map-chosen a")
    assert page.js("document.getElementById('view-map').hidden")
    assert page.query.startswith("?of=train/")


def test_the_run_is_shown(page):
    page.open("?view=run")
    page.until("document.querySelectorAll('#run-figures img').length >= 4")
    page.until("[...document.querySelectorAll('#run-figures img')].slice(0, 2).every(i => i.naturalWidth > 0)")
    assert "mAP@60" in page.text("#run-searches")
    page.click("[data-view=search]")
    assert page.shown("#view-search")


def test_a_server_that_dies_and_comes_back(page, served_run, browser, photo):
    own = Server(served_run).wait()
    try:
        here = Page(browser, own)
        here.open("?of=test/0")
        here.browser.find_element("id", "file").send_keys(str(photo))
        here.until("location.search.startsWith('?of=upload/')")
        expected = here.settled().rows("hdl")
        own.process.kill()
        own.process.wait()
        here.move_unanswered(5)
        here.until("!document.getElementById('fault').hidden")
        assert "The server does not answer" in here.fault()
        own = Server(served_run, port=own.port).wait()
        here.settled()
        assert here.fault() == ""
        assert here.query.startswith("?of=upload/")  # sent again by the window that still has the file
        assert sorted(here.rows("bcs")) == sorted(answer(own, "", photo.read_bytes())["bcs"])
        assert expected
    finally:
        own.stop()
