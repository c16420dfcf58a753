// Lets the forms of a page ask an authenticator. The only script of Access: without it, codes and passwords go on working.
//
// A form with `data-webauthn` carries the options as JSON; the authenticator's answer goes back in its field `answer`.
"use strict";
(() => {
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  const text = (buffer) =>
    buffer && btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const named = (list) => (list ?? []).map((entry) => ({ ...entry, id: bytes(entry.id) }));

  async function ask({ publicKey: options }) {
    options.challenge = bytes(options.challenge);
    if (options.user) {
      options.user.id = bytes(options.user.id);
      options.excludeCredentials = named(options.excludeCredentials);
      return navigator.credentials.create({ publicKey: options });
    }
    options.allowCredentials = named(options.allowCredentials);
    return navigator.credentials.get({ publicKey: options });
  }

  function written({ id, rawId, type, authenticatorAttachment, response }) {
    const answer = { clientDataJSON: text(response.clientDataJSON) };
    if (response.attestationObject) {
      answer.attestationObject = text(response.attestationObject);
      answer.transports = response.getTransports?.();
    } else {
      answer.authenticatorData = text(response.authenticatorData);
      answer.signature = text(response.signature);
      answer.userHandle = text(response.userHandle) || undefined;
    }
    return JSON.stringify({ id, rawId: text(rawId), type, authenticatorAttachment, response: answer, clientExtensionResults: {} });
  }

  for (const form of document.querySelectorAll("form[data-webauthn]")) {
    const button = form.querySelector("button");
    const alert = form.querySelector("[role=alert]");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      alert.hidden = true;
      try {
        form.elements.answer.value = written(await ask(JSON.parse(form.dataset.webauthn)));
        form.submit();
      } catch (error) {
        alert.textContent = error.name === "InvalidStateError" ? form.dataset.known : form.dataset.failed;
        alert.hidden = false;
        button.disabled = false;
      }
    });
  }
})();
