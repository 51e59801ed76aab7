-- `http-request lua.latchkey URL` checks the key of a request with Latchkey. A valid request continues with the
-- identity headers and the variable txn.latchkey. A refused one gets Latchkey's response. Without a response of
-- Latchkey, the request continues without the variable.

local credentials = { "x-api-key", "authorization" }
local identity = { "x-auth-key-id", "x-auth-org", "x-auth-env", "x-auth-scopes" }
local refusal = { "content-type", "retry-after", "www-authenticate", "ratelimit", "ratelimit-policy" }

core.register_action("latchkey", { "http-req" }, function(txn, url)
  local sent = txn.http:req_get_headers()
  local question = { ["x-forwarded-for"] = { txn.f:src() } }
  for _, name in ipairs(credentials) do
    question[name] = sent[name]
  end

  local answer = core.httpclient():get({ url = url, headers = question, timeout = 5000 })

  if answer.status == 200 then
    for _, name in ipairs(identity) do
      if answer.headers[name] then
        txn.http:req_set_header(name, answer.headers[name][0])
      end
    end
    txn:set_var("txn.latchkey", "passed")
  elseif answer.status >= 400 and answer.status < 500 then
    local reply = txn:reply({ status = answer.status, body = answer.body })
    for _, name in ipairs(refusal) do
      if answer.headers[name] then
        reply:add_header(name, answer.headers[name][0])
      end
    end
    txn:done(reply)
  end
end, 1)
